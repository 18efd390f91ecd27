import { readFile } from 'node:fs/promises';
import type { Context } from './context.ts';

/** The version alone, as the reference client prints it. */
export async function printVersion({ flags, output }: Pick<Context, 'flags' | 'output'>): Promise<void> {
  const manifest = new URL('../../package.json', import.meta.url);
  const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string };
  return output.result(flags.text('output') === 'json' ? `${JSON.stringify({ version })}\n` : `${version}\n`);
}
