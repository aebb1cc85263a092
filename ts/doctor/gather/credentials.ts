/** The credentials for TLS of an end that is a stream. */

import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { TapferryError } from '../../errors.ts'
import { loadBinding } from '../../native.ts'
import type { StreamPlan } from '../../run/ends.ts'
import type { CredentialsFacts } from '../facts.ts'

/** Bits of a file's mode by which others than its owner and group may read it (inode(7)). */
const OTHERS_MAY_READ = 0o004

/** Of a stream. Whether a descriptor listens is not known before it is handed over. */
export async function lookAtCredentials({
  address,
  server,
  tlsCreds,
}: StreamPlan): Promise<CredentialsFacts | undefined> {
  if (tlsCreds === undefined || address.kind === 'fd') return undefined
  return lookInto(tlsCreds, server)
}

/** What a server or a client finds in a directory. */
export async function lookInto(directory: string, server: boolean): Promise<CredentialsFacts> {
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
