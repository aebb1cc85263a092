/** What is wrong with a command line, in our own words and with the next step. */

import type { TapferryError } from '../errors.ts'
import type { CommandHelp } from '../output/help.ts'
import { closest } from './closest.ts'
import { longName } from './option.ts'
import { usageError } from './values.ts'

/** The first arguments are missing or no command. */
export function unknownCommand(argv: readonly string[], commands: readonly CommandHelp[]): TapferryError {
  const [name, second] = argv
  const list = `commands: ${commands.map(command => command.name).join(', ')}; more: tapferry --help`
  if (name === undefined) return usageError('no command given', list)
  const family = commands.filter(command => command.name.startsWith(`${name} `))
  if (family.length > 0) {
    const names = family.map(command => command.name)
    if (second === undefined)
      return usageError(`'${name}' needs one more word`, `commands: ${names.join(', ')}`)
    const [similar] = closest(`${name} ${second}`, names)
    return usageError(
      `unknown command '${name} ${second}'`,
      similar ? `did you mean 'tapferry ${similar}'?` : `commands: ${names.join(', ')}`,
    )
  }
  if (!name.startsWith('-')) {
    const [similar] = closest(
      name,
      commands.map(command => command.name),
    )
    return usageError(`unknown command '${name}'`, similar ? `did you mean 'tapferry ${similar}'?` : list)
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
export function explainSyntaxError(error: unknown, name: string, commands: readonly CommandHelp[]): unknown {
  const command = commands.find(candidate => candidate.name === name)
  if (!isUnknownSyntax(error)) return error
  const reason = error.candidates[0]?.reason ?? error.message
  const help = `options: tapferry ${command ? `${command.name} -h` : '--help'}`
  const names = command ? optionNames(command) : []

  const option = /^(?:Unsupported|Invalid) option name \("(.*)"\)\.$/s.exec(reason)?.[1]
  if (option !== undefined) {
    const [flag = option] = option.split('=')
    if (names.includes(flag)) return usageError(`option ${flag} takes no value`, `write only ${flag}`)
    const [similar] = closest(flag, names)
    return usageError(`unknown option ${flag}`, similar ? `did you mean ${similar}?` : help)
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
