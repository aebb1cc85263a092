/**
 * One option table feeds parser and help.
 *
 * A table is a record of options; ts/options/declare.ts makes clipanion's declarations of it, and
 * ts/output/help.ts its lines in the help. The type of the parsed options follows from the table.
 */

import type { ValueParser } from './values.ts'

export interface Option<T> {
  /** `--queue`, or `-q,--quiet`: the long name comes last. */
  flags: string
  /** One more name, which only its own help tells. */
  alias?: string
  /** How the value looks in the help: `NAME`, `on|off`; absent for a switch. */
  value?: string
  /** The value may be left out (`--flag` alone); it then counts as this text. */
  bare?: string
  /** What holds when the option is not given, as the help says it. */
  default?: string
  /** It may be given several times; its value is the list of all. */
  repeatable?: true
  group: string
  /** For `-h`: at most 46 characters with the default, so that a row fits 80 columns. */
  brief: string
  /** For `--help`: what `brief` leaves out, in lines of at most 72 characters; without it, `brief`. */
  help?: readonly string[]
  parse: ValueParser<T>
}

// biome-ignore lint/suspicious/noExplicitAny: a table mixes value types; each option keeps its own in OptionValues
export type OptionTable = Record<string, Option<any>>

/** The parsed options of a table: the value, or undefined where the option was not given. */
export type OptionValues<Table extends OptionTable> = {
  [Key in keyof Table]: Table[Key] extends Option<infer T> ? T | undefined : never
}

export function option<T>(spec: Option<T>): Option<T> {
  return spec
}

/** An option that may be given several times. */
export function repeatable<T>(spec: Option<T>): Option<T[]> {
  return { ...spec, repeatable: true, parse: (text, flag) => [spec.parse(text, flag)] }
}

/** An option without a value. */
export function flag(spec: Omit<Option<true>, 'parse' | 'value' | 'bare'>): Option<true> {
  return { ...spec, parse: () => true }
}

export function longName(spec: Option<unknown>): string {
  return spec.flags.slice(spec.flags.lastIndexOf(',') + 1)
}

/** Every name that it answers to. */
export function allNames(spec: Option<unknown>): string[] {
  return [...spec.flags.split(','), ...(spec.alias === undefined ? [] : [spec.alias])]
}

/** Whether it must have a value, so that the next word may be it. */
export function takesValue(spec: Option<unknown>): boolean {
  return spec.value !== undefined && spec.bare === undefined
}
