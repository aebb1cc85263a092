/**
 * The command line: argv -> help, version or a command.
 *
 * clipanion picks the command and splits the options; what is wrong is said in our own words, because its
 * messages go to stdout, end with status 1, and repeat the whole usage. Help does without it, and starts faster.
 */

import type { Command } from 'clipanion'
import { doctorHelp } from './doctor/help.ts'
import { ExitStatus } from './errors.ts'
import { handoverFamily, handoverHelps } from './handover/help.ts'
import { netdevsHelp } from './netdevs/help.ts'
import { commandOf, explainSyntaxError, familyOf, unknownCommand } from './options/syntax.ts'
import { colorsFor } from './output/color.ts'
import { requestedColor } from './output/failure.ts'
import { briefHelp, type CommandHelp, fullHelp, overview } from './output/help.ts'
import { runHelp } from './run/help.ts'

/** Every command. */
const HELPS: readonly CommandHelp[] = [runHelp, ...handoverHelps, netdevsHelp, doctorHelp]

/** What the overview lists: those of one beginning are one. */
const OVERVIEW: readonly CommandHelp[] = [runHelp, handoverFamily, netdevsHelp, doctorHelp]

export async function runCommandLine(argv: readonly string[]): Promise<ExitStatus> {
  const help = helpFor(argv)
  if (help !== undefined) {
    process.stdout.write(help)
    return ExitStatus.Done
  }
  const command = await parse(argv)
  return (await command.execute()) as ExitStatus
}

/** The text for `-h` or `--help` anywhere on the line, whatever else is wrong on it. */
function helpFor(argv: readonly string[]): string | undefined {
  const asked = argv.find(argument => argument === '-h' || argument === '--help')
  if (asked === undefined) return undefined
  const colors = colorsFor(process.stdout, requestedColor(argv))
  const command = commandOf(argv, HELPS)
  if (command === undefined) {
    const family = familyOf(argv, HELPS)
    return overview(family.words.length === 0 ? OVERVIEW : family.commands, colors)
  }
  return asked === '-h' ? briefHelp(command, colors) : fullHelp(command, colors)
}

async function parse(argv: readonly string[]): Promise<Command> {
  const command = commandOf(argv, HELPS)
  if (command === undefined && argv[0] !== '--version') throw unknownCommand(argv, HELPS, OVERVIEW)
  const { buildCli } = await import('./commands/index.ts')
  try {
    return buildCli().process([...argv])
  } catch (error) {
    throw explainSyntaxError(error, command)
  }
}
