// What cargo knows of this workspace.

import { spawnSync } from 'node:child_process'
import { ROOT } from './setup.mjs'

/** Far more than the metadata of a workspace of this size. */
const MAX_BYTES = 256 * 1024 * 1024

/** `cargo metadata`, for every platform or for the one of a target triple. Throws when cargo fails. */
export function cargoMetadata(target) {
  const args = ['metadata', '--format-version', '1', '--locked']
  if (target !== undefined) args.push('--filter-platform', target)
  const { status, stdout, error } = spawnSync('cargo', args, {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: MAX_BYTES,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (status !== 0) throw new Error(`cargo metadata failed: ${error?.message ?? 'the reason is above'}`)
  return JSON.parse(stdout)
}
