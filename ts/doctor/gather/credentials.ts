/** The credentials for TLS of an end that is a stream. */

import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { TapferryError } from '../../errors.ts'
import { loadBinding } from '../../native.ts'
import type { StreamPlan } from '../../run/ends.ts'
import type { CredentialsFacts } from '../facts.ts'

/** Bits of a file's mode by which others than its owner and group may read it (inode(7)). */
const OTHERS_MAY_READ = 0o004

export async function lookAtCredentials({
  address,
  server,
  tlsCreds: directory,
}: StreamPlan): Promise<CredentialsFacts | undefined> {
  // Whether a descriptor listens is not known before it is handed over.
  if (directory === undefined || address.kind === 'fd') return undefined
  const key = join(directory, `${server ? 'server' : 'client'}-key.pem`)
  const exposedKey = await stat(key).then(
    ({ mode }) => ((mode & OTHERS_MAY_READ) === 0 ? undefined : key),
    () => undefined,
  )
  try {
    const files = await loadBinding().inspectCredentials(directory, server)
    return { directory, problem: undefined, files, exposedKey }
  } catch (error) {
    return { directory, problem: TapferryError.from(error), files: [], exposedKey }
  }
}
