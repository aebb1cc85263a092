/** Files by what they are, whatever path leads there, and the way to them. */

import { access, constants, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

/** Whether both paths lead to one file; not if one of them leads nowhere. */
export async function sameFile(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map(path => stat(path).catch(() => undefined)))
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino
}

/**
 * The directories on the way to a file, from the first that this user may not search; else none. Behind the first
 * closed one, nothing can be told of the others.
 */
export async function closedDirectories(path: string): Promise<string[]> {
  const directories: string[] = []
  for (let directory = dirname(resolve(path)); ; directory = dirname(directory)) {
    directories.unshift(directory)
    if (directory === '/') break
  }
  while (directories[0] !== undefined && (await mayAccess(directories[0], constants.X_OK)))
    directories.shift()
  return directories
}

/** `mode`: of access(2). */
export function mayAccess(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  )
}
