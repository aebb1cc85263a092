/** Commands as they are to be typed into a shell. Pure. */

import { quote, withoutOptions } from '../options/words.ts'
import type { End } from './facts.ts'
import type { Request } from './request.ts'

/** A command about an interface, run where the interface is. */
export function at({ place }: End, ...words: readonly (string | number)[]): string {
  const command = words.map(word => quote(String(word))).join(' ')
  return place.netns === undefined ? command : `nsenter --net=${quote(place.netns)} ${command}`
}

/** Options by their names; `undefined` takes one away. */
export type Changes = Readonly<Record<string, string | undefined>>

/** The command that was given, with some options set anew. */
export function again({ argv }: Request, changes: Changes): string {
  const words = withoutOptions(argv, new Map(Object.keys(changes).map(name => [name, true])))
  const added = Object.entries(changes).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`],
  )
  return ['tapferry', ...words, ...added].map(quote).join(' ')
}
