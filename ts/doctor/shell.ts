/** Commands as they are to be typed into a shell. Pure. */

import type { End } from './facts.ts'
import type { Request } from './request.ts'

/** A word as sh(1) takes it. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}

/** A command about an interface, run where the interface is. */
export function at({ place }: End, ...words: readonly (string | number)[]): string {
  const command = words.map(word => quote(String(word))).join(' ')
  return place.netns === undefined ? command : `nsenter --net=${quote(place.netns)} ${command}`
}

/** Options by their names; `undefined` takes one away. */
export type Changes = Readonly<Record<string, string | undefined>>

/** The command that was given, with some options set anew. */
export function again({ argv }: Request, changes: Changes): string {
  const words: string[] = []
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? ''
    const name = word.split('=')[0] ?? ''
    if (!(name in changes)) words.push(word)
    else if (!word.includes('=')) index += 1
  }
  const added = Object.entries(changes).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`],
  )
  return ['tapferry', ...words, ...added].map(quote).join(' ')
}
