// Is there a container engine on this machine? Asked without testcontainers, whose import alone costs 250 ms.
import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { homedir } from 'node:os';

/** Unix sockets where an engine may listen; the first that answers counts. */
function sockets() {
  const named = process.env.DOCKER_HOST;
  // A remote engine cannot share a directory with us, and a directory is how the token's socket gets out.
  if (named) return named.startsWith('unix://') ? [named.slice('unix://'.length)] : [];
  const runtime = process.env.XDG_RUNTIME_DIR ?? `/run/user/${process.getuid?.()}`;
  return ['/var/run/docker.sock', `${runtime}/docker.sock`, `${homedir()}/.docker/run/docker.sock`];
}

/** The socket of an engine that answers `GET /_ping` within a second; undefined when there is none. */
export async function findEngine() {
  for (const socketPath of sockets().filter((path) => existsSync(path))) {
    if (await answers(socketPath)) return socketPath;
  }
  return undefined;
}

const answers = (socketPath) =>
  new Promise((resolve) => {
    const asked = request({ socketPath, path: '/_ping', timeout: 1000 }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.on('error', () => resolve(false));
    asked.end();
  });
