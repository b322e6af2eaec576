// The published SDK of 100ms when its connection breaks: it comes back by itself, and neither joins nor observes again.
import assert from 'node:assert/strict';
import { after, afterEach, before, test as anyTest } from 'node:test';

import { allow, closePage, origin, thrown } from './browser.mjs';
import { Client, hms, joined, leaveAll } from './client.mjs';
import { Path } from './path.mjs';
import { startServers } from './server.mjs';

const test = (name, run) => anyTest(name, { timeout: 120_000 }, run);

let servers, one, two;
const paths = [];

before(async () => {
  servers = await startServers(2, origin);
  servers.nodes.forEach(node => allow(node.url));
  [one, two] = servers.nodes;
});

afterEach(async () => {
  await leaveAll();
  assert.deepEqual(thrown.splice(0), [], 'a message made the SDK throw');
});

after(async () => {
  closePage();
  await Promise.all(paths.map(path => path.close()));
  await servers?.stop();
});

async function pathTo(node) {
  const path = await Path.to(node);
  allow(path.url);
  paths.push(path);
  return path;
}

/** What a client was notified of, of those types, and about whom. */
const heard = (client, ...types) =>
  client.notifications.filter(n => types.includes(n.type)).map(n => `${n.type} ${n.data?.name ?? ''}`.trim());

const set = (c, key, value) => c.actions.sessionStore.set(key, value);

test('it comes back to another node and has all that it had', async () => {
  const path = await pathTo(one);
  const [ann, bob, cat] = await joined('back', [path, 'Ann', 'guest'], [two, 'Bob', 'host'], [one, 'Cat', 'guest']);
  await ann.actions.sessionStore.observe(['k', 'gone', 'none']);
  await set(bob, 'k', 1);
  await set(bob, 'gone', 1);
  await ann.until('values', () => ann.value('k') === 1 && ann.value('gone') === 1);
  const { id } = ann;
  const { sessionId } = ann.get(hms.selectRoom);
  ann.notifications.length = bob.notifications.length = 0;
  path.cut();
  await ann.told('RECONNECTING');
  await cat.actions.leave();
  await bob.until('leave of Cat', () => bob.names().join() === 'Ann,Bob');
  const dan = await new Client(one, 'back', 'Dan', 'stage').join();
  await set(bob, 'k', { two: 2 });
  await set(bob, 'gone', undefined);
  await bob.actions.changeName('Robert');
  await bob.actions.changeRoleOfPeer(id, 'speaker', true);
  path.open(two);
  await ann.told('RECONNECTED');
  await ann.until('what it missed', () => ann.names().join() === 'Ann,Dan,Robert' && ann.value('gone') === null);
  assert.deepEqual(ann.value('k'), { two: 2 });
  assert.deepEqual(heard(ann, 'PEER_LEFT'), ['PEER_LEFT Cat']);
  assert.deepEqual([ann.id, ann.get(hms.selectRoom).sessionId], [id, sessionId]);
  assert.equal(ann.peer(dan.id).roleName, 'stage');
  await ann.until('own role', () => ann.get(hms.selectLocalPeerRoleName) === 'speaker');
  // It is as it was: it hears, and what it does counts.
  await set(bob, 'k', 3);
  await ann.until('change', () => ann.value('k') === 3);
  await set(ann, 'k', 4);
  await bob.actions.sessionStore.observe('k');
  await bob.until('change', () => bob.value('k') === 4);
  await ann.actions.sendBroadcastMessage('here');
  await bob.told('NEW_MESSAGE', m => m.message === 'here' && m.sender === id);
  await bob.actions.sendDirectMessage('psst', id);
  await ann.told('NEW_MESSAGE', m => m.message === 'psst');
  assert.deepEqual(heard(bob, 'PEER_LEFT', 'PEER_JOINED').sort(), ['PEER_JOINED Dan', 'PEER_LEFT Cat']);
  assert.ok(bob.peer(id));
  await ann.actions.leave();
  assert.equal((await bob.told('PEER_LEFT', p => p.name === 'Ann')).id, id);
});

test('again and again, from node to node', async () => {
  const path = await pathTo(one);
  const [ann, bob] = await joined('often', [path, 'Ann', 'guest'], [two, 'Bob', 'host']);
  await ann.actions.sessionStore.observe('k');
  ann.notifications.length = bob.notifications.length = 0;
  for (let i = 0; i < 4; i++) {
    path.cut();
    path.open(i % 2 ? one : two);
    await ann.told('RECONNECTING');
    await set(bob, 'k', i);
    await ann.told('RECONNECTED');
    await ann.until('value', () => ann.value('k') === i);
    await set(ann, 'mine', i);
    assert.deepEqual(ann.names(), ['Ann', 'Bob']);
  }
  await bob.actions.sessionStore.observe('mine');
  await bob.until('value', () => bob.value('mine') === 3);
  assert.deepEqual(heard(ann, 'PEER_LEFT', 'PEER_JOINED', 'ERROR'), []);
  assert.deepEqual(heard(bob, 'PEER_LEFT', 'PEER_JOINED', 'ERROR'), []);
});

test('who was away for too long is told so, and may join anew', async () => {
  const path = await pathTo(one);
  const [ann, bob] = await joined('late', [path, 'Ann', 'guest'], [two, 'Bob', 'host']);
  const { id } = ann;
  const away = Date.now();
  path.cut();
  // No less than 30 s: more than the patience of until.
  while (bob.peer(id) && Date.now() - away < 50_000) {
    await bob.until('end of the grace', () => !bob.peer(id)).catch(() => {});
  }
  assert.equal((await bob.told('PEER_LEFT')).id, id);
  assert.ok(Date.now() - away > 29_000, `gone after ${Date.now() - away} ms`);
  path.open(two);
  const why = await ann.told('ROOM_ENDED'); // so the SDK calls a removal by nobody it knows
  assert.deepEqual([why.reason, why.roomEnded], ['timed_out', false]);
  await ann.until('end', () => !ann.get(hms.selectIsConnectedToRoom));
  await ann.join();
  await Promise.all([ann, bob].map(c => c.sees('Ann', 'Bob')));
  assert.deepEqual(heard(bob, 'PEER_LEFT'), []);
});
