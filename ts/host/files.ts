/** Files by what they are, whatever path leads there. */

import { stat } from 'node:fs/promises'

/** Whether both paths lead to one file; not if one of them leads nowhere. */
export async function sameFile(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map(path => stat(path).catch(() => undefined)))
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino
}
