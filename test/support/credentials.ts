/** Directories of credentials for TLS, made by the testbed (crates/testbed/src/certificates.rs). */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { TESTBED } from './testbed.ts'

/** Times are seconds from now on. */
export interface Terms {
  /** Whose CA signs; without it, one of their own. */
  readonly of?: string
  /** What the server's certificate is for; without them, localhost and 127.0.0.1. */
  readonly names?: readonly string[]
  readonly from?: number
  readonly until?: number
  readonly authorityUntil?: number
}

/** Writes credentials for both sides into a directory, and says which. */
export async function makeCredentials(directory: string, terms: Terms = {}): Promise<string> {
  const { of, names = [], from, until, authorityUntil } = terms
  const options = [
    ...names.flatMap(name => ['--name', name]),
    ...Object.entries({ '--of': of, '--from': from, '--until': until, '--authority-until': authorityUntil })
      .filter(([, value]) => value !== undefined)
      .flatMap(([option, value]) => [option, String(value)]),
  ]
  await promisify(execFile)(TESTBED, ['certificates', directory, ...options])
  return directory
}
