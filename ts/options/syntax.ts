/** What is wrong with a command line, in our own words and with the next step. */

import type { TapferryError } from '../errors.ts'
import type { CommandHelp } from '../output/help.ts'
import { closest, didYouMean } from './closest.ts'
import { longName } from './option.ts'
import { usageError } from './values.ts'

/** The command that the line begins with; its name may be of several words. */
export function commandOf(
  argv: readonly string[],
  commands: readonly CommandHelp[],
): CommandHelp | undefined {
  return commands.find(({ name }) => name.split(' ').every((word, index) => word === argv[index]))
}

/** The commands that begin as the line does, and how: `handover check` is the beginning of two. */
export function familyOf(
  argv: readonly string[],
  commands: readonly CommandHelp[],
): { words: readonly string[]; commands: readonly CommandHelp[] } {
  let family = { words: [] as readonly string[], commands }
  for (const count of argv.keys()) {
    const words = argv.slice(0, count + 1)
    const members = commands.filter(({ name }) => name.startsWith(`${words.join(' ')} `))
    if (members.length === 0) break
    family = { words, commands: members }
  }
  return family
}

/** The line begins with no command, or only with the beginning of one. `listed`: those to choose from at first. */
export function unknownCommand(
  argv: readonly string[],
  commands: readonly CommandHelp[],
  listed: readonly CommandHelp[],
): TapferryError {
  const { words, commands: family } = familyOf(argv, commands)
  const members = words.length === 0 ? listed : family
  const name = argv[words.length]
  const list = `commands: ${members.map(command => command.name).join(', ')}; more: tapferry --help`
  if (name === undefined || (words.length > 0 && name.startsWith('-'))) {
    const missing = words.length === 0 ? 'no command given' : `'${words.join(' ')}' is not all of a command`
    return usageError(missing, list)
  }
  if (!name.startsWith('-')) {
    const given = [...words, name].join(' ')
    const [similar] = closest(
      given,
      members.map(command => command.name),
    )
    return usageError(`unknown command '${given}'`, similar ? `did you mean 'tapferry ${similar}'?` : list)
  }
  const [flag = name] = name.split('=')
  const owner = commands.find(command => optionNames(command).includes(flag))
  if (owner)
    return usageError(`option ${flag} comes after its command`, `write: tapferry ${owner.name} ${name} ...`)
  return usageError(`unknown option ${flag}`, list)
}

/**
 * Rewrites what clipanion throws while it parses. Its reasons are texts; a reason that is not known here
 * is passed on as it is.
 */
export function explainSyntaxError(error: unknown, command: CommandHelp | undefined): unknown {
  if (!isUnknownSyntax(error)) return error
  const reason = error.candidates[0]?.reason ?? error.message
  const help = `options: tapferry ${command ? `${command.name} -h` : '--help'}`
  const names = command ? optionNames(command) : []

  const option = /^(?:Unsupported|Invalid) option name \("(.*)"\)\.$/s.exec(reason)?.[1]
  if (option !== undefined) {
    const [flag = option] = option.split('=')
    if (names.includes(flag)) return usageError(`option ${flag} takes no value`, `write only ${flag}`)
    const aliases = command ? Object.values(command.options).flatMap(({ alias }) => alias ?? []) : []
    const isQemus = /^-[a-z]{2}/.test(flag) && aliases.length > 0
    const others = isQemus ? `of a QEMU command line take only ${aliases.join(' and ')}; ${help}` : help
    return usageError(`unknown option ${flag}`, didYouMean(flag, names) ?? others)
  }
  const positional = /^Extraneous positional argument \("(.*)"\)\.$/s.exec(reason)?.[1]
  if (positional !== undefined) {
    return usageError(`unexpected argument '${positional}'`, `values are written --option=value; ${help}`)
  }
  const incomplete = /^Not enough arguments to option (\S+?)\.?$/.exec(reason)?.[1]
  if (incomplete !== undefined) return usageError(`option ${incomplete} needs a value`, help)
  return usageError(reason, help)
}

interface UnknownSyntax extends Error {
  candidates: readonly { reason: string | null }[]
}

function isUnknownSyntax(error: unknown): error is UnknownSyntax {
  return error instanceof Error && error.name === 'UnknownSyntaxError'
}

function optionNames(command: CommandHelp): string[] {
  return Object.values(command.options).map(longName)
}
