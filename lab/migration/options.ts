/** The command line. */

import { parseArgs } from 'node:util'
import { VARIANTS, type Variant, variant } from './variants.ts'

export interface Plan {
  readonly variants: readonly Variant[]
  /** Whether tapferry hands over the frames; of several, in turns. */
  readonly ferries: readonly boolean[]
  /** Where the raw rows go. */
  readonly json: string | undefined
}

/** What was asked for cannot be; the message says what can. */
export class UsageError extends Error {}

export const USAGE = `usage: npm run lab:migration -- [--with | --without | --both] [options]

  --with            tapferry hands the frames over, on both hosts
  --without         it does not: what migrations lose by themselves (default)
  --both            in turns, with the same guest
  --variant=NAME    may be repeated, or a list with commas; 'all' are all (default: basic)
                    ${VARIANTS.slice(0, 9).join(' ')}
                    ${VARIANTS.slice(9).join(' ')}
  --migrations=N    of each variant (default: 3; killed: each moment once)
  --rate=N          datagrams a second
  --size=BYTES      of each frame
  --broadcasts=N    broadcasts a second beside them
  --tcp=BYTES       bytes a second over TCP beside them
  --downtime=MS     how long the guest stands still, about
  --json=FILE       every migration as one JSON object a line
`

/** Rejects what it does not know. Undefined: only help was asked for. */
export function parse(args: readonly string[]): Plan | undefined {
  const values = read(args)
  if (values.help) return undefined
  if ([values.with, values.without, values.both].filter(Boolean).length > 1) {
    throw new UsageError('it is one of --with, --without and --both')
  }
  const names = (values.variant ?? ['basic']).flatMap(list => list.split(','))
  const ferries = values.both ? [false, true] : [values.with ?? false]
  const all = VARIANTS.filter(name => values.with || !variant(name)?.course.killed)
  const chosen = names.flatMap(name => (name === 'all' ? all : [name]))
  const own = (name: 'rate' | 'size' | 'broadcasts' | 'tcp', least: number) => {
    const value = number(name, values[name], least)
    return value === undefined ? {} : { [name]: value }
  }
  const traffic = { ...own('rate', 1), ...own('size', 58), ...own('broadcasts', 0), ...own('tcp', 0) }
  const downtimeMs = number('downtime', values.downtime, 1)
  const migrations = number('migrations', values.migrations, 1)
  return {
    variants: chosen.map(name => {
      const plain = variant(name)
      if (plain === undefined) throw new UsageError(`there is no variant '${name}'`)
      if (plain.course.killed && !values.with) throw new UsageError(`variant '${name}' is for --with`)
      return {
        ...plain,
        traffic: { ...plain.traffic, ...traffic },
        downtimeMs: downtimeMs ?? plain.downtimeMs,
        migrations: migrations ?? plain.migrations,
      }
    }),
    ferries,
    json: values.json,
  }
}

function read(args: readonly string[]) {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        help: { ...flag, short: 'h' },
        with: flag,
        without: flag,
        both: flag,
        variant: { ...text, multiple: true },
        migrations: text,
        rate: text,
        size: text,
        broadcasts: text,
        tcp: text,
        downtime: text,
        json: text,
      },
    })
    return values
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function number(name: string, text: string | undefined, least: number): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < least) {
    throw new UsageError(`--${name} is a whole number, at least ${least}, not '${text}'`)
  }
  return value
}
