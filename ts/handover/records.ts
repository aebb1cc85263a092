/**
 * Records of what a handover has changed and will change back, in files that outlive it: whoever starts next finds
 * those of processes that are gone. What they say is for others; here is how they are kept.
 */

import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startTimeOf } from '../host/processes.ts'

/** The process that wrote a record, told apart from a later one of that number. */
export interface Owner {
  readonly version: 1
  readonly pid: number
  readonly startTime: string
}

export async function thisProcess(): Promise<Owner> {
  return { version: 1, pid: process.pid, startTime: (await startTimeOf(process.pid)) ?? '' }
}

/** Where records are kept, the better place first. */
export function recordDirectories(env: NodeJS.ProcessEnv = process.env): string[] {
  const own = env['XDG_RUNTIME_DIR']
  return ['/run/tapferry', ...(own ? [join(own, 'tapferry')] : [])]
}

/** Whole or not at all, in the first place that takes it; answers where. */
export async function writeRecord(
  name: string,
  record: Owner,
  directories: readonly string[],
): Promise<string | undefined> {
  for (const directory of directories) {
    const file = join(directory, name)
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      await writeFile(`${file}.new`, `${JSON.stringify(record)}\n`, { mode: 0o600 })
      await rename(`${file}.new`, file)
      return file
    } catch {
      // The next one may.
    }
  }
  return undefined
}

export async function removeRecord(file: string): Promise<void> {
  await rm(file, { force: true }).catch(() => {})
}

/** The records of processes that are gone, of those names that fit. `fits`: what else makes one a record. */
export async function* recordsOfTheGone<T extends Owner>(
  directories: readonly string[],
  names: RegExp,
  fits: (parsed: Partial<T>) => boolean,
): AsyncGenerator<{ file: string; record: T }> {
  for (const directory of directories) {
    for (const name of await readdir(directory).catch(() => [])) {
      if (!names.test(name)) continue
      const file = join(directory, name)
      if (!(await isTrusted(file))) continue
      const parsed = parse<T>(await readFile(file, 'utf8').catch(() => ''))
      if (parsed === undefined || !isOwned(parsed) || !fits(parsed)) continue
      const record = parsed as T
      if (!(await isAlive(record))) yield { file, record }
    }
  }
}

function parse<T>(text: string): Partial<T> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? (parsed as Partial<T>) : undefined
  } catch {
    return undefined
  }
}

function isOwned({ version, pid, startTime }: Partial<Owner>): boolean {
  return version === 1 && Number.isSafeInteger(pid) && Number(pid) >= 0 && typeof startTime === 'string'
}

/** Whatever a record says is done with the rights of whoever reads it: it must be this user's, or root's. */
async function isTrusted(file: string): Promise<boolean> {
  const owner = (await stat(file).catch(() => undefined))?.uid
  return owner === 0 || owner === process.geteuid?.()
}

async function isAlive({ pid, startTime }: Owner): Promise<boolean> {
  return (await startTimeOf(pid)) === startTime
}
