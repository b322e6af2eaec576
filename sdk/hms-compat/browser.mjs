// Makes this process look enough like a browser for 100ms's web SDK: jsdom, and stubs for the media it never gets to
// use, since no role here publishes or subscribes. Import it before the SDK, which looks around as it is loaded.
import { JSDOM, VirtualConsole } from 'jsdom';

/** The origin of the page that the clients run on: a server has to allow it. */
export const origin = 'http://page.example';

/** What was thrown at a listener of the page, most likely in the SDK at a message that it could not take. */
export const thrown = [];

// The SDK times itself there whatever its log level.
console.time = console.timeEnd = () => {};

const virtualConsole = new VirtualConsole().on('jsdomError', e => thrown.push(e));
const dom = new JSDOM('<!doctype html>', { url: origin + '/', pretendToBeVisual: true, virtualConsole });
const { window } = dom;

/** What the SDK asked of others than the servers under test: nothing of it leaves the process. */
export const elsewhere = [];

const servers = new Set();
/** Lets requests to a server through. */
export const allow = url => servers.add(new URL(url).origin);

const nodeFetch = globalThis.fetch;
const fetch = async (url, options) => {
  if (servers.has(new URL(url).origin)) {
    return nodeFetch(url, { ...options, headers: { Origin: origin, ...options?.headers } });
  }
  elsewhere.push(String(url));
  return new Response('{}', { status: 200 });
};

// The SDK looks whether it is there, hangs listeners on it, and wires up a player that plays nothing.
class Unused extends window.EventTarget {}

const stubs = {
  fetch,
  RTCPeerConnection: Unused,
  AudioContext: class extends Unused {
    state = 'running';
    resume = async () => {};
    close = async () => {};
    createMediaElementSource = () => ({ connect() {} });
    createMediaStreamDestination = () => ({ stream: { getAudioTracks: () => [] } });
  },
  IntersectionObserver: Unused,
  ResizeObserver: Unused,
};
Object.assign(window, stubs);
Object.assign(window.HTMLMediaElement.prototype, { pause() {}, load() {}, play: async () => {} });
Object.defineProperty(window.navigator, 'mediaDevices', {
  value: Object.assign(new Unused(), { enumerateDevices: async () => [] }),
});

for (const name of ['window', 'document', 'navigator', 'location', 'localStorage', 'WebSocket', 'Event', 'EventTarget', 'HTMLElement']) {
  Object.defineProperty(globalThis, name, { value: name === 'window' ? window : window[name], configurable: true, writable: true });
}
Object.assign(globalThis, stubs);

// A browser sends what is queued before it closes; jsdom sends a tick later, and so loses the SDK's leave.
const { close } = window.WebSocket.prototype;
window.WebSocket.prototype.close = function (...why) {
  process.nextTick(() => close.apply(this, why));
};

/** Ends what the page has running. */
export const closePage = () => window.close();
