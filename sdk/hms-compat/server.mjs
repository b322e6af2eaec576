// A Redis server and Hearth nodes on it, each a process of its own on a free port of loopback.
import { spawn } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const binary = process.env.HEARTH_BINARY ?? fileURLToPath(new URL('../../bin/hearth', import.meta.url));
const redisBinaries = process.env.REDIS_SERVER ? [process.env.REDIS_SERVER] : ['redis-server', 'valkey-server'];
const accessKey = 'sdk-test';
const secret = 'a-secret-of-32-bytes-or-more-for-tests';

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

// Whatever way this process ends, what it started does too.
const running = new Set();
process.on('exit', () => running.forEach(child => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(1));
}

/** Runs a command until it has said what shows that it is ready; its output is kept for who wants to know why it isn't. */
function run(command, args, env, ready) {
  const child = spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  running.add(child);
  const ended = new Promise(resolve => child.once('close', resolve)).then(() => running.delete(child));
  const stop = () => {
    child.kill('SIGTERM');
    return ended;
  };
  return new Promise((resolve, reject) => {
    const fail = (why, code) => reject(Object.assign(new Error(`${command}: ${why}\n${said}`), { code }));
    child.once('error', e => fail(e.message, e.code));
    child.once('exit', code => fail(`ended with ${code}`));
    const hear = text => {
      said += text;
      const match = ready.exec(said);
      if (match) {
        resolve({ match, stop, said: () => said });
      }
    };
    child.stdout.setEncoding('utf8').on('data', hear);
    child.stderr.setEncoding('utf8').on('data', hear);
  });
}

/** Starts n nodes on one Redis; pages of origin may connect. */
export async function startServers(n, origin) {
  const stops = [];
  const stop = async () => {
    for (const one of stops.reverse()) {
      await one();
    }
  };
  try {
    const dir = await mkdtemp(join(tmpdir(), 'hearth-sdk-'));
    stops.push(() => rm(dir, { recursive: true, force: true }));
    const port = await freePort();
    const redisArgs = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir];
    const startRedis = ([name, ...others]) =>
      run(name, redisArgs, {}, /Ready to accept connections/).catch(e => {
        if (e.code === 'ENOENT' && others.length) {
          return startRedis(others);
        }
        throw e;
      });
    const redis = await startRedis(redisBinaries);
    stops.push(redis.stop);
    const nodes = [];
    for (let i = 0; i < n; i++) {
      const node = await run(
        binary,
        ['serve'],
        {
          HEARTH_ADDR: '127.0.0.1:0',
          HEARTH_REDIS: `redis://127.0.0.1:${port}`,
          HEARTH_APP_ACCESS_KEY: accessKey,
          HEARTH_APP_SECRET: secret,
          HEARTH_ALLOWED_ORIGINS: origin,
          HEARTH_NODE_ID: `node${i}`,
        },
        /msg=serving addr=(\S+)/,
      );
      stops.push(node.stop);
      nodes.push({ url: `http://${node.match[1]}`, said: node.said });
    }
    return { nodes, stop };
  } catch (e) {
    await stop();
    throw e;
  }
}

const part = value => Buffer.from(JSON.stringify(value)).toString('base64url');

function sign(claims) {
  const now = Math.floor(Date.now() / 1000);
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({
    access_key: accessKey, version: 2, jti: randomUUID(), iat: now, nbf: now, exp: now + 3600, ...claims,
  })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** A token as 100ms's documentation tells to mint it. */
export const peerToken = (room, user, role) => sign({ type: 'app', room_id: room, user_id: user, role });
/** The same for a server. */
export const serverToken = () => sign({ type: 'management' });
