// The way from a client to a node, which breaks when a test says so, and may lead to another node then.
import { createServer, connect } from 'node:net';

export class Path {
  #open = true;
  #sockets = new Set();
  #server;
  #node;

  /** A way to a node, on a port of loopback of its own. */
  static async to(node) {
    const path = new Path();
    path.#node = node;
    path.#server = createServer(client => path.#carry(client));
    await new Promise((resolve, reject) => path.#server.once('error', reject).listen(0, '127.0.0.1', resolve));
    path.url = `http://127.0.0.1:${path.#server.address().port}`;
    return path;
  }

  #carry(client) {
    if (!this.#open) {
      client.destroy();
      return;
    }
    const { hostname, port } = new URL(this.#node.url);
    const server = connect(Number(port), hostname);
    for (const [from, to] of [[client, server], [server, client]]) {
      this.#sockets.add(from);
      from.pipe(to);
      from.on('error', () => {}).on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
  }

  /** Breaks all connections, without a close frame, and lets none through until it is opened. */
  cut() {
    this.#open = false;
    this.#sockets.forEach(socket => socket.resetAndDestroy());
  }

  open(node = this.#node) {
    this.#node = node;
    this.#open = true;
  }

  close() {
    this.cut();
    return new Promise(resolve => this.#server.close(resolve));
  }
}
