import type { Stats } from 'node:fs';
import { HoldfastError } from '../../errors.ts';
import type { OpenOptions } from '../store.ts';

const GROUP_OR_OTHERS_WRITE = 0o022;
const GROUP_OR_OTHERS_READ = 0o044;

/**
 * Who else can reach a key file? Whoever can write it can put another key there: refused. Whoever can read it can sign
 * as its owner: a warning, or refused under `strictFiles`. A file of another user, whom nothing stops from writing it,
 * is a warning too and no refusal, because agents that hand out keys to several users (and containers that map user
 * ids) work so; a file of root is not, and root itself may use anybody's. Directories above the file are not looked at,
 * nor are pipes' readers; Windows has no such bits. POSIX ACLs are seen as far as the group's bits show their mask.
 *
 * @param user our own user id; undefined on Windows
 * @throws {HoldfastError} `ERR_KEY_EXPOSED`
 */
export function checkExposure(
  stat: Pick<Stats, 'mode' | 'uid' | 'isFile' | 'isFIFO'>,
  name: string,
  options: Pick<OpenOptions, 'notify' | 'strictFiles'>,
  user: number | undefined,
): void {
  if (user === undefined || !(stat.isFile() || stat.isFIFO())) return;
  if (stat.mode & GROUP_OR_OTHERS_WRITE) {
    throw new HoldfastError('ERR_KEY_EXPOSED', `other users can write the ${name} (mode ${modeOf(stat)})`, {
      hint: 'take that right away: chmod go-w FILE; then make sure that the key is still yours',
    });
  }
  const concerns = [
    ...(stat.mode & GROUP_OR_OTHERS_READ
      ? [
          {
            message: `other users can read the ${name} (mode ${modeOf(stat)})`,
            hint: 'take that right away: chmod go-r FILE',
          },
        ]
      : []),
    ...(user !== 0 && stat.uid !== 0 && stat.uid !== user
      ? [
          {
            message: `the ${name} belongs to another user (uid ${stat.uid})`,
            hint: 'make it your own: chown USER FILE',
          },
        ]
      : []),
  ];
  for (const { message, hint } of concerns) {
    if (options.strictFiles) throw new HoldfastError('ERR_KEY_EXPOSED', message, { hint });
    options.notify?.({ kind: 'warning', message, hint });
  }
}

const modeOf = ({ mode }: Pick<Stats, 'mode'>): string => (mode & 0o7777).toString(8).padStart(4, '0');
