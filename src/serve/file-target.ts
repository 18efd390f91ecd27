import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { dirname, isAbsolute, join, parse } from 'node:path';
import { HoldfastError, messageOf, systemCodeOf } from '../errors.ts';
import { printable } from '../read-file.ts';

/** As many as Linux follows (path_resolution(7)). */
const MOST_LINKS = 40;

/**
 * The file that is replaced when a path is written: where its links lead. A link that another user could turn elsewhere
 * would have us write where that user wants.
 *
 * @param uid whose links are followed, besides those of root; undefined where nobody has a number
 * @returns absolute, without links; the file need not be there
 * @throws {HoldfastError} `ERR_FILE_UNWRITABLE`
 */
export function targetOf(path: string, uid: number | undefined = process.geteuid?.()): string {
  try {
    return follow(path, uid);
  } catch (cause) {
    throw cause instanceof HoldfastError ? cause : unwritable(path, cause);
  }
}

function follow(path: string, uid: number | undefined): string {
  const start = isAbsolute(path) ? path : join(process.cwd(), path);
  const { root } = parse(start);
  const left = wordsOf(start.slice(root.length));
  let links = 0;
  let at = root;
  for (let word = left.shift(); word !== undefined; word = left.shift()) {
    const next = join(at, word); // also for `..`: there are no links in it any more
    const stat = lstatSync(next, { throwIfNoEntry: false });
    if (!stat?.isSymbolicLink()) {
      at = next;
      continue;
    }
    links += 1;
    if (links > MOST_LINKS) throw refused(path, 'its symbolic links lead in a circle', 'name the file itself');
    if (uid !== undefined && stat.uid !== uid && stat.uid !== 0) {
      const why = `the symbolic link ${printable(next)} belongs to user ${stat.uid}`;
      throw refused(path, why, 'name the file itself, or make the link your own');
    }
    const link = readlinkSync(next);
    if (isAbsolute(link)) at = parse(link).root;
    left.unshift(...wordsOf(link.slice(isAbsolute(link) ? at.length : 0)));
  }
  const directory = lstatSync(dirname(at), { throwIfNoEntry: false });
  // Where others may write, only the sticky bit keeps them from replacing what is ours.
  if (links > 0 && uid !== undefined && directory && (directory.mode & 0o1002) === 0o002) {
    const why = `a symbolic link leads to ${printable(dirname(at))}, where every user can replace files`;
    throw refused(path, why, 'let the link lead to a directory that only its owner can write');
  }
  checkTarget(path, lstatSync(at, { throwIfNoEntry: false }), uid);
  return at;
}

const wordsOf = (path: string): string[] =>
  path.split(process.platform === 'win32' ? /[\\/]/ : '/').filter((word) => word !== '' && word !== '.');

function checkTarget(path: string, stat: Stats | undefined, uid: number | undefined): void {
  if (stat === undefined) return;
  if (!stat.isFile()) throw refused(path, 'it is no regular file', 'name a file');
  // What is replaced becomes the property of whoever replaces it; only root can give it back.
  if (uid !== undefined && uid !== 0 && stat.uid !== uid) {
    throw refused(path, `it belongs to user ${stat.uid}`, 'run this as that user, or name a file of your own');
  }
}

const refused = (path: string, why: string, hint: string): HoldfastError =>
  new HoldfastError('ERR_FILE_UNWRITABLE', `${printable(path)} is not written: ${why}`, { hint });

const HINTS: ReadonlyMap<string, string> = new Map([
  ['ENOSPC', 'make room on the disk; the file is as it was'],
  ['EDQUOT', 'make room in the quota; the file is as it was'],
  ['EROFS', 'name a file on a file system that is not read-only'],
  ['EBUSY', 'mount the directory, not the file: the file is replaced, not overwritten'],
  ['EACCES', 'let the user who runs this write the directory: the file is replaced, not overwritten'],
  [
    'EPERM fchown',
    'owner and group of the file are kept: run this as its owner, who must be in that group, or as root',
  ],
  ['EPERM', 'name a file elsewhere: the system allows no new files or links there, or not to replace this one'],
  ['ENOTDIR', 'check the path: what should be a directory is a file'],
]);

/** For anything that the system said. */
export function unwritable(path: string, cause: unknown): HoldfastError {
  const code = systemCodeOf(cause) ?? messageOf(cause);
  return new HoldfastError('ERR_FILE_UNWRITABLE', `${printable(path)} cannot be written (${code})`, {
    hint:
      HINTS.get(`${code} ${(cause as NodeJS.ErrnoException).syscall}`) ??
      HINTS.get(code) ??
      'check the path and the file system; the file is as it was',
    cause,
  });
}
