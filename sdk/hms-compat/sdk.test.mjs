// The published SDK of 100ms against Hearth: what its users can do with it here. Two nodes on one Redis, so that what one
// client does reaches the others by way of the store.
import assert from 'node:assert/strict';
import { after, afterEach, before, test as anyTest } from 'node:test';

import { allow, closePage, elsewhere, origin, thrown } from './browser.mjs';
import { Client, hms, joined, leaveAll, refused } from './client.mjs';
import { peerToken, serverToken, startServers } from './server.mjs';

const test = (name, run) => anyTest(name, { timeout: 60_000 }, run);

let servers, one, two;

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
  await servers?.stop();
  const strangers = elsewhere.filter(url => !url.startsWith('https://event.100ms.live/'));
  assert.deepEqual(strangers, [], 'the SDK asked others than Hearth and its own collector of events');
});

/** Makes a request as a server of the application. */
async function request(method, path, body) {
  const response = await fetch(`${one.url}/v1${path}`, {
    method,
    headers: { Authorization: `Bearer ${serverToken()}` },
    body: body && JSON.stringify(body),
  });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.json();
}

test('a page of another origin may ask for the endpoint', async () => {
  const ask = headers => fetch(`${one.url}/init?peer_id=p`, { method: 'OPTIONS', headers });
  const { status, headers } = await ask({
    'Access-Control-Request-Method': 'GET', 'Access-Control-Request-Headers': 'authorization',
  });
  assert.equal(status, 204);
  assert.equal(headers.get('access-control-allow-origin'), origin);
  assert.match(headers.get('access-control-allow-headers'), /authorization/i);
});

test('join, see each other, leave', async () => {
  const ann = await new Client(one, 'join', 'Ann', 'host').join({ metaData: '{"lang":"de"}' });
  const bob = await new Client(two, 'join', 'Bob', 'stage').join();
  const seen = await bob.until('Ann', () => bob.peer(ann.id));
  assert.deepEqual(
    [seen.name, seen.roleName, seen.metadata, seen.customerUserId, seen.isLocal, seen.type],
    ['Ann', 'host', '{"lang":"de"}', 'user-Ann', false, 'regular'],
  );
  // A role that Ann's client was not told of when it connected.
  const { name, roleName } = await ann.told('PEER_JOINED', p => p.id === bob.id);
  assert.deepEqual([name, roleName], ['Bob', 'stage']);
  assert.ok(ann.get(hms.selectAvailableRoleNames).includes('stage'));
  const [a, b] = [ann, bob].map(c => c.get(hms.selectRoom));
  assert.equal(a.sessionId, b.sessionId);
  assert.deepEqual(a.startedAt, b.startedAt);
  assert.deepEqual([a.id, a.name, a.roomState, a.isConnected], ['join', 'join', 'Connected', true]);
  assert.deepEqual(
    [ann, bob].map(c => c.get(hms.selectPermissions)).map(p => [p.endRoom, p.removeOthers, p.changeRole, p.hlsStreaming]),
    [[true, true, true, false], [false, false, false, false]],
  );
  const cat = await new Client(one, 'join', 'Cat', 'guest').join();
  await Promise.all([ann, bob, cat].map(c => c.sees('Ann', 'Bob', 'Cat')));
  await bob.actions.leave();
  assert.equal((await ann.told('PEER_LEFT')).name, 'Bob');
  await cat.sees('Ann', 'Cat');
  assert.deepEqual((await request('GET', '/rooms/join/peers')).peers.map(p => p.info.name).sort(), ['Ann', 'Cat']);
  assert.equal(ann.get(hms.selectErrors)?.length ?? 0, 0);
  assert.deepEqual(ann.notifications.filter(n => n.type === 'ERROR'), []);
});

test('preview, look at the room, then join', async () => {
  const [ann] = await joined('preview', [one, 'Ann', 'stage']);
  const bob = new Client(two, 'preview', 'Bob', 'guest');
  await bob.inTime('preview', bob.actions.preview(bob.config));
  assert.equal(bob.get(hms.selectRoomState), 'Preview');
  assert.equal(bob.get(hms.selectLocalPeer).roleName, 'guest');
  const peers = await bob.actions.getPeerListIterator().next();
  assert.deepEqual(peers.map(p => [p.name, p.roleName]), [['Ann', 'stage']]);
  assert.equal((await bob.actions.getPeer(ann.id)).name, 'Ann');
  assert.deepEqual((await bob.actions.findPeerByName({ query: 'AN' })).peers.map(p => p.id), [ann.id]);
  assert.deepEqual(ann.names(), ['Ann']);
  await bob.join();
  await Promise.all([ann, bob].map(c => c.sees('Ann', 'Bob')));
});

test('session store: set, observe, remove', async () => {
  const [ann, bob] = await joined('store', [one, 'Ann', 'host'], [two, 'Bob', 'guest']);
  const set = (c, key, value) => c.actions.sessionStore.set(key, value);
  await ann.actions.sessionStore.observe(['spotlight', 'deck']);
  await bob.actions.sessionStore.observe('spotlight');
  await ann.until('absent key', () => ann.value('spotlight') === null);
  await set(ann, 'spotlight', bob.id);
  assert.equal(ann.value('spotlight'), bob.id);
  await bob.until('value', () => bob.value('spotlight') === ann.value('spotlight'));
  // Objects as they are, and from the other side.
  const deck = { slide: 3, title: 'Grüße 🎉', notes: [1.5, null, true, { a: [] }] };
  await set(bob, 'deck', deck);
  await ann.until('deck', () => ann.value('deck'));
  assert.deepEqual(ann.value('deck'), deck);
  await set(ann, 'spotlight', 'twice');
  await bob.until('second value', () => bob.value('spotlight') === 'twice');
  // Who comes later sees what is there.
  const [cat] = [await new Client(two, 'store', 'Cat', 'guest').join()];
  await cat.actions.sessionStore.observe(['spotlight', 'deck', 'none']);
  await cat.until('values', () => cat.value('none') === null && cat.value('spotlight') === 'twice');
  assert.deepEqual(cat.value('deck'), deck);
  await set(bob, 'spotlight', undefined);
  await Promise.all([ann, bob, cat].map(c => c.until('removal', () => c.value('spotlight') === null)));
  await set(bob, 'spotlight', false);
  await Promise.all([ann, cat].map(c => c.until('false', () => c.value('spotlight') === false)));
  // What is not observed any more is not heard of; a later key that is shows that there was time.
  await cat.actions.sessionStore.unobserve(['spotlight']);
  await set(ann, 'spotlight', 'after');
  await set(ann, 'deck', 'after');
  await cat.until('deck', () => cat.value('deck') === 'after');
  assert.equal(cat.value('spotlight'), false);
  assert.equal((await request('GET', '/rooms/store/metadata/spotlight')).data, 'after');
  assert.equal((await request('GET', '/rooms/store/metadata/spotlight')).updated_by, ann.id);
});

test('the older metadata of one blob', async () => {
  const [ann, bob] = await joined('blob', [one, 'Ann', 'host'], [two, 'Bob', 'guest']);
  await bob.actions.populateSessionMetadata();
  assert.equal(bob.get(hms.selectSessionMetadata), null);
  await ann.actions.setSessionMetadata({ pinned: 'welcome' });
  assert.deepEqual(ann.get(hms.selectSessionMetadata), { pinned: 'welcome' });
  await bob.actions.populateSessionMetadata();
  assert.deepEqual(bob.get(hms.selectSessionMetadata), { pinned: 'welcome' });
  assert.deepEqual((await request('GET', '/rooms/blob/metadata/default')).data, { pinned: 'welcome' });
});

test('messages to all, to a role, to one', async () => {
  const [ann, bob, cat] = await joined('chat', [one, 'Ann', 'host'], [two, 'Bob', 'stage'], [two, 'Cat', 'guest']);
  await ann.actions.sendBroadcastMessage('hello');
  await bob.actions.sendGroupMessage('to guests', ['guest']);
  await cat.actions.sendGroupMessage('to both', ['host', 'stage'], 'cue');
  await ann.actions.sendDirectMessage('psst', bob.id, 'whisper');
  await ann.actions.sendBroadcastMessage('the last');
  // The last one shows that what was before it has come. Its own messages a client may have put before others'.
  await Promise.all([bob, cat].map(c => c.until('last message', () => c.messages().includes('the last'))));
  await ann.until('message of Cat', () => ann.messages().includes('to both'));
  assert.deepEqual(ann.messages().sort(), ['hello', 'psst', 'the last', 'to both']);
  assert.deepEqual(bob.messages().sort(), ['hello', 'psst', 'the last', 'to both', 'to guests']);
  assert.deepEqual(cat.messages().sort(), ['hello', 'the last', 'to both', 'to guests']);
  const whisper = bob.get(hms.selectHMSMessages).find(m => m.message === 'psst');
  assert.deepEqual(
    [whisper.type, whisper.sender, whisper.senderName, whisper.senderRole, whisper.senderUserId, whisper.recipientPeer],
    ['whisper', ann.id, 'Ann', 'host', 'user-Ann', bob.id],
  );
  const cue = ann.get(hms.selectHMSMessages).find(m => m.type === 'cue');
  assert.deepEqual(cue.recipientRoles, ['host', 'stage']);
  assert.ok(Math.abs(cue.time - Date.now()) < 60_000);
  await request('POST', '/rooms/chat/messages', { message: 'from the server', type: 'notice' });
  const notice = await cat.told('NEW_MESSAGE', m => m.type === 'notice');
  assert.deepEqual([notice.message, notice.sender], ['from the server', undefined]);
});

test('name, metadata, hand', async () => {
  const [ann, bob] = await joined('update', [one, 'Ann', 'host'], [two, 'Bob', 'guest']);
  await bob.actions.changeName('Robert');
  await bob.actions.changeMetadata({ bio: 'x' });
  await ann.until('name', () => ann.peer(bob.id).name === 'Robert' && ann.peer(bob.id).metadata === '{"bio":"x"}');
  assert.equal(bob.get(hms.selectLocalPeer).name, 'Robert');
  assert.equal(ann.get(hms.selectPeers).length, 2);
  await bob.actions.raiseLocalPeerHand();
  await ann.until('raised hand', () => ann.get(hms.selectHasPeerHandRaised(bob.id)));
  await bob.until('own raised hand', () => bob.get(hms.selectHasPeerHandRaised(bob.id)));
  assert.equal((await ann.actions.getPeerListIterator({ group: '_handraise' }).next())[0].id, bob.id);
  await ann.actions.lowerRemotePeerHand(bob.id);
  await bob.until('lowered hand', () => !bob.get(hms.selectHasPeerHandRaised(bob.id)));
  await refused(bob.actions.raiseRemotePeerHand(ann.id), 403);
});

test('iterate and find peers', async () => {
  const [ann] = await joined('many', [one, 'Ann', 'host']);
  for (let i = 0; i < 12; i++) {
    const role = i % 3 ? 'guest' : 'stage';
    await request('PUT', `/rooms/many/peers/p${i}`, { name: `Person ${i}`, role, groups: i < 4 ? ['front'] : [] });
  }
  await ann.until('13 peers', () => ann.get(hms.selectPeers).length === 13);
  const all = async options => {
    const iterator = ann.actions.getPeerListIterator(options);
    const pages = [];
    while (iterator.hasNext()) {
      pages.push(await iterator.next());
    }
    return { pages, total: iterator.getTotal(), ids: pages.flat().map(p => p.id) };
  };
  const five = await all({ limit: 5 });
  assert.deepEqual([five.pages.map(p => p.length), five.total, new Set(five.ids).size], [[5, 5, 3], 13, 13]);
  const stage = await all({ role: 'stage', limit: 3 });
  assert.deepEqual([stage.ids.sort(), stage.total], [['p0', 'p3', 'p6', 'p9'], 4]);
  assert.ok(stage.pages.flat().every(p => p.roleName === 'stage'));
  assert.deepEqual((await all({ group: 'front' })).ids.sort(), ['p0', 'p1', 'p2', 'p3']);
  assert.deepEqual((await all({ peerIds: ['p4', 'p8', 'nobody'] })).ids.sort(), ['p4', 'p8']);
  assert.equal((await ann.actions.getPeer('p7')).name, 'Person 7');
  await refused(ann.actions.getPeer('nobody'), 404);
  const found = await ann.actions.findPeerByName({ query: 'person 1', limit: 2 });
  assert.deepEqual([found.peers.map(p => [p.id, p.name]), found.eof], [[['p1', 'Person 1'], ['p10', 'Person 10']], false]);
  const rest = await ann.actions.findPeerByName({ query: 'person 1', limit: 2, offset: 2 });
  assert.deepEqual([rest.peers.map(p => p.id), rest.eof], [['p11'], true]);
});

test('roles are changed, by force and by request', async () => {
  const [ann, bob, cat] = await joined('roles', [one, 'Ann', 'host'], [two, 'Bob', 'guest'], [one, 'Cat', 'guest']);
  await refused(bob.actions.changeRoleOfPeer(cat.id, 'host', true), 403);
  await ann.actions.changeRoleOfPeer(bob.id, 'speaker', true);
  await Promise.all([ann, bob, cat].map(c => c.until('role of Bob', () => c.peer(bob.id).roleName === 'speaker')));
  assert.equal(bob.get(hms.selectLocalPeerRoleName), 'speaker');
  assert.ok(cat.get(hms.selectAvailableRoleNames).includes('speaker'));
  // By request, to a role that none has had yet; and what it permits is there at once.
  await ann.actions.changeRoleOfPeer(cat.id, 'admin');
  const request = await cat.until('request', () => cat.get(hms.selectRoleChangeRequest));
  assert.deepEqual([request.requestedBy.name, request.role.name], ['Ann', 'admin']);
  assert.equal(cat.get(hms.selectLocalPeerRoleName), 'guest');
  await cat.actions.acceptChangeRole(request);
  await Promise.all([ann, bob, cat].map(c => c.until('role of Cat', () => c.peer(cat.id).roleName === 'admin')));
  assert.ok(cat.get(hms.selectPermissions).removeOthers);
  await refused(cat.actions.acceptChangeRole(request), 404);
  await ann.actions.changeRoleOfPeer(bob.id, 'an-unheard-of-role');
  const asked = await bob.until('request', () => bob.get(state => state.roleChangeRequests[0]));
  assert.equal(asked.roleName, 'an-unheard-of-role');
  bob.actions.rejectChangeRole(asked);
  await cat.actions.sendGroupMessage('to speakers', ['speaker']);
  await bob.told('NEW_MESSAGE', m => m.message === 'to speakers');
  await ann.actions.changeRoleOfPeersWithRoles(['speaker', 'admin'], 'guest');
  await ann.until('roles', () => [bob, cat].every(c => ann.peer(c.id).roleName === 'guest'));
  await cat.until('own role', () => cat.get(hms.selectLocalPeerRoleName) === 'guest');
  await refused(cat.actions.changeRoleOfPeersWithRoles(['host'], 'guest'), 403);
  await ann.actions.removePeer(bob.id, 'done');
  await bob.told('REMOVED_FROM_ROOM');
});

test('a peer is removed', async () => {
  const [ann, bob, cat] = await joined('remove', [one, 'Ann', 'host'], [two, 'Bob', 'guest'], [two, 'Cat', 'guest']);
  await refused(bob.actions.removePeer(ann.id, 'no'), 403);
  await ann.actions.removePeer(bob.id, 'be kind');
  const why = await bob.told('REMOVED_FROM_ROOM');
  assert.deepEqual([why.reason, why.roomEnded, why.requestedBy?.name], ['be kind', false, 'Ann']);
  await bob.until('end', () => !bob.get(hms.selectIsConnectedToRoom));
  await Promise.all([ann, cat].map(c => c.sees('Ann', 'Cat')));
  await request('DELETE', `/rooms/remove/peers/${cat.id}?reason=closing`);
  assert.equal((await cat.told('ROOM_ENDED')).reason, 'closing'); // so the SDK calls a removal by nobody it knows
  await ann.sees('Ann');
});

test('the room is ended', async () => {
  const [ann, bob, cat] = await joined('end', [one, 'Ann', 'host'], [two, 'Bob', 'guest'], [one, 'Cat', 'guest']);
  const { sessionId } = ann.get(hms.selectRoom);
  await ann.actions.sessionStore.set('k', 1);
  await bob.actions.endRoom(false, 'no'); // which the SDK itself keeps its user from
  assert.deepEqual(ann.names(), ['Ann', 'Bob', 'Cat']);
  await ann.actions.endRoom(false, 'time is up');
  for (const c of [bob, cat]) {
    const why = await c.told('ROOM_ENDED');
    assert.deepEqual([why.reason, why.roomEnded], ['time is up', true]);
  }
  await Promise.all([ann, bob, cat].map(c => c.until('end', () => !c.get(hms.selectIsConnectedToRoom))));
  assert.equal((await request('GET', '/rooms/end')).session, null);
  // The next session knows nothing of it.
  const [dan] = await joined('end', [two, 'Dan', 'guest']);
  assert.notEqual(dan.get(hms.selectRoom).sessionId, sessionId);
  await dan.actions.sessionStore.observe('k');
  await dan.until('absent key', () => dan.value('k') === null);
});

test('the room is ended and shut', async () => {
  const [ann] = await joined('shut', [one, 'Ann', 'host']);
  await ann.actions.endRoom(true, 'closing time');
  await ann.until('end', () => !ann.get(hms.selectIsConnectedToRoom));
  const bob = new Client(two, 'shut', 'Bob', 'guest');
  await refused(bob.join(), 410);
  assert.ok((await bob.told('ERROR')).isTerminal);
  await request('PUT', '/rooms/shut', { enabled: true });
  await new Client(two, 'shut', 'Bob', 'guest').join();
});

test('what Hearth does not have is refused at once', async () => {
  const [ann] = await joined('none', [one, 'Ann', 'host']);
  for (const call of [
    a => a.startHLSStreaming({ variants: [{ meetingURL: 'https://x.example' }] }),
    a => a.stopHLSStreaming(),
    a => a.startRTMPOrRecording({ record: true }),
    a => a.stopRTMPAndRecording(),
    a => a.startTranscription({ mode: 'caption' }),
    a => a.sendHLSTimedMetadata([{ payload: 'p', duration: 1 }]),
    a => a.interactivityCenter.getPolls(),
    a => a.interactivityCenter.createPoll({ id: 'p', title: 't', type: 'poll' }),
    a => a.setRemoteTracksEnabled({ enabled: false }),
  ]) {
    await refused(call(ann.actions), -32601);
  }
  // The connection is none the worse for it.
  await ann.actions.sessionStore.set('k', 'v');
  assert.equal(ann.value('k'), 'v');
});

test('who may not join is told why', async () => {
  const ann = new Client(one, 'door', 'Ann', 'guest');
  const token = ann.config.authToken;
  await refused(ann.join({ authToken: `${token.slice(0, -4)}AAAA` }), 401);
  await refused(ann.join({ authToken: peerToken('door', 'user-Ann', 'x'.repeat(200)) }), 401);
  await ann.join();
});
