/** What is wrong with a command line, in our own words and with the next step. */

import type { TapferryError } from '../errors.ts'
import type { CommandHelp } from '../output/help.ts'
import { longName } from './option.ts'
import { usageError } from './values.ts'

/** The first argument is missing or no command. */
export function unknownCommand(name: string | undefined, commands: readonly CommandHelp[]): TapferryError {
  const list = `commands: ${commands.map(command => command.name).join(', ')}; more: tapferry --help`
  if (name === undefined) return usageError('no command given', list)
  if (!name.startsWith('-')) {
    const similar = closest(
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
    const similar = closest(flag, names)
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

/** The candidate that differs least, if it is near enough to be a typing error. */
function closest(text: string, candidates: readonly string[]): string | undefined {
  const near = candidates
    .map(candidate => ({ candidate, distance: editDistance(text, candidate) }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, Math.floor(candidate.length / 4)))
    .sort((a, b) => a.distance - b.distance)
  return near[0]?.candidate
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, charA] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, charB] of [...b].entries()) {
      const substitution = (row[j] ?? 0) + (charA === charB ? 0 : 1)
      next.push(Math.min(substitution, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
