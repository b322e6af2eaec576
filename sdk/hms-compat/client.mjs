// One user of 100ms's web SDK, as an application would hold it: its store, its actions, and what it was notified of.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

import { thrown } from './browser.mjs';
import { peerToken } from './server.mjs';

// By require: the SDK's ES modules name dependencies in a way that only bundlers resolve.
export const hms = createRequire(import.meta.url)('@100mslive/hms-video-store');

const patience = 20_000;
const everybody = new Set();

export class Client {
  notifications = [];
  #watchers = new Set();

  constructor(server, room, user, role) {
    const reactive = new hms.HMSReactiveStore();
    this.store = reactive.getStore();
    this.actions = reactive.getActions();
    this.actions.setLogLevel(hms.HMSLogLevel.NONE);
    this.room = room;
    this.config = {
      userName: user,
      authToken: peerToken(room, `user-${user}`, role),
      // The SDK fails unless https:// is somewhere in it; of a fragment, nothing reaches the server.
      initEndpoint: `${server.url}/#https://`,
    };
    const changed = () => this.#watchers.forEach(look => look());
    reactive.getNotifications().onNotification(n => {
      this.notifications.push(n);
      changed();
    });
    this.store.subscribe(changed);
    everybody.add(this);
  }

  get id() {
    return this.get(hms.selectLocalPeerID);
  }

  get = selector => this.store.getState(selector);

  /** What is under a key of the session store, as far as this client knows. */
  value = key => this.get(hms.selectSessionStore(key));

  peer = id => this.get(hms.selectPeerByID(id));

  names = () => this.get(hms.selectPeers).map(p => p.name).sort();

  messages = () => this.get(hms.selectHMSMessages).map(m => m.message);

  /** Waits until look returns something true, and returns it. It is asked whenever the store changes or a notification comes. */
  until(what, look) {
    return new Promise((resolve, reject) => {
      const asked = () => {
        const found = look();
        if (found) {
          this.#watchers.delete(asked);
          clearTimeout(timer);
          resolve(found);
        }
      };
      const timer = setTimeout(() => {
        this.#watchers.delete(asked);
        const { peers, room, sessionStore, messages } = this.store.getState();
        const state = JSON.stringify({ notifications: this.notifications, peers, room, sessionStore, messages }, null, 1);
        reject(new Error(`${this.config.userName} saw no ${what}; threw ${thrown.map(e => e.stack)}; it has ${state}`));
      }, patience);
      this.#watchers.add(asked);
      asked();
    });
  }

  /** Gives up on what the SDK itself may wait for without end. */
  async inTime(what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${this.config.userName}: no ${what} in ${patience} ms`)), patience);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  /** Waits for a notification of a type that matches, and takes it off the list. */
  async told(type, match = () => true) {
    const found = await this.until(`notification ${type}`, () => this.notifications.find(n => n.type === type && match(n.data)));
    this.notifications.splice(this.notifications.indexOf(found), 1);
    return found.data;
  }

  sees = (...names) => this.until(`peers ${names}`, () => this.names().join() === names.sort().join());

  async join(config) {
    await this.inTime('join', this.actions.join({ ...this.config, ...config }));
    await this.until('peer-list', () => this.get(hms.selectRoom).sessionId);
    return this;
  }
}

/** Has users of that role at these servers join a room, one after the other. */
export async function joined(room, ...users) {
  const clients = [];
  for (const [server, user, role] of users) {
    clients.push(await new Client(server, room, user, role).join());
  }
  const names = users.map(([, user]) => user);
  await Promise.all(clients.map(c => c.sees(...names)));
  return clients;
}

/** Rejects with the code that the SDK gives an error. */
export const refused = (promise, code) =>
  assert.rejects(promise, e => {
    assert.equal(e.code, code, e.stack);
    return true;
  });

/** Ends what a test left open. */
export async function leaveAll() {
  await Promise.all([...everybody].map(c => c.get(hms.selectIsConnectedToRoom) && c.actions.leave()));
  everybody.clear();
}
