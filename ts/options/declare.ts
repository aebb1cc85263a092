/** Option tables as clipanion wants them. */

import { Option as ClipanionOption, type Command } from 'clipanion'
import { allNames, longName, type Option, type OptionTable, type OptionValues, takesValue } from './option.ts'
import { usageError } from './values.ts'

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
  const names = allNames(spec)
  return ClipanionOption.makeCommandOption<T | undefined>({
    definition(builder) {
      // A binding (`--flag=value`) is refused for arity 0, unless the value is optional.
      builder.addOption({ names, arity: takesValue(spec) ? 1 : 0, allowBinding: spec.value !== undefined })
    },
    transformer(_builder, _key, state) {
      const given = state.options.filter(({ name }) => names.includes(name))
      const name = longName(spec)
      if (spec.repeatable && given.length > 0) {
        // Each is a list of one.
        return given.flatMap(({ value }) => spec.parse(String(value), name)) as T
      }
      if (given.length > 1) throw usageError(`${name} is given ${given.length} times`, 'give it once')
      const [first] = given
      if (first === undefined) return undefined
      // clipanion reads `--no-flag` as a negated switch; ours have none.
      if (first.value === false) throw usageError(`unknown option --no-${name.slice(2)}`, `leave ${name} out`)
      return spec.parse(typeof first.value === 'string' ? first.value : (spec.bare ?? ''), name)
    },
  })
}
