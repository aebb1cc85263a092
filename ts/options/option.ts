/**
 * One option table feeds parser and help.
 *
 * A table is a record of options; `declareOptions` makes clipanion's declarations of it, and ts/output/help.ts
 * its lines in the help. The type of the parsed options follows from the table.
 */

import { Option as ClipanionOption, type Command } from 'clipanion'
import { usageError, type ValueParser } from './values.ts'

export interface Option<T> {
  /** `--queue`, or `-q,--quiet`: the long name comes last. */
  flags: string
  /** How the value looks in the help: `NAME`, `on|off`; absent for a switch. */
  value?: string
  /** The value may be left out (`--flag` alone); it then counts as this text. */
  bare?: string
  /** What holds when the option is not given, as the help says it. */
  default?: string
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

/** An option without a value. */
export function flag(spec: Omit<Option<true>, 'parse' | 'value' | 'bare'>): Option<true> {
  return { ...spec, parse: () => true }
}

export function longName(spec: Option<unknown>): string {
  return spec.flags.slice(spec.flags.lastIndexOf(',') + 1)
}

/** Sets clipanion's declaration of every option of the table on a command under construction. */
export function declareOptions(command: Command, table: OptionTable): void {
  const declarations = Object.entries(table).map(([key, spec]) => [key, declare(spec)] as const)
  Object.assign(command, Object.fromEntries(declarations))
}

/** Collects a command's parsed options again, under the table's own type. */
export function optionValues<Table extends OptionTable>(command: Command, table: Table): OptionValues<Table> {
  const values = Object.keys(table).map(key => [key, (command as unknown as Record<string, unknown>)[key]])
  return Object.fromEntries(values) as OptionValues<Table>
}

function declare<T>(spec: Option<T>): T | undefined {
  const names = spec.flags.split(',')
  const takesValue = spec.value !== undefined && spec.bare === undefined
  return ClipanionOption.makeCommandOption<T | undefined>({
    definition(builder) {
      // A binding (`--flag=value`) is refused for arity 0, unless the value is optional.
      builder.addOption({ names, arity: takesValue ? 1 : 0, allowBinding: spec.value !== undefined })
    },
    transformer(_builder, _key, state) {
      const given = state.options.filter(({ name }) => names.includes(name))
      const name = longName(spec)
      if (given.length > 1) throw usageError(`${name} is given ${given.length} times`, 'give it once')
      const [first] = given
      if (first === undefined) return undefined
      // clipanion reads `--no-flag` as a negated switch; ours have none.
      if (first.value === false) throw usageError(`unknown option --no-${name.slice(2)}`)
      return spec.parse(typeof first.value === 'string' ? first.value : (spec.bare ?? ''), name)
    },
  })
}
