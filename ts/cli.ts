/**
 * The command line: argv -> help, version or a command.
 *
 * clipanion picks the command and splits the options; what is wrong is said in our own words, because its
 * messages go to stdout, end with status 1, and repeat the whole usage. Help does without it, and starts faster.
 */

import type { Command } from 'clipanion'
import { doctorHelp } from './doctor/help.ts'
import { ExitStatus } from './errors.ts'
import { handoverReportHelp } from './handover/report/help.ts'
import { netdevsHelp } from './netdevs/help.ts'
import { explainSyntaxError, unknownCommand } from './options/syntax.ts'
import { colorsFor } from './output/color.ts'
import { requestedColor } from './output/failure.ts'
import { briefHelp, type CommandHelp, fullHelp, overview } from './output/help.ts'
import { runHelp } from './run/help.ts'

/** What the help lists. */
const HELPS: readonly CommandHelp[] = [runHelp, netdevsHelp, doctorHelp, handoverReportHelp]

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
  const command = commandOf(argv)
  if (command === undefined) return overview(HELPS, colors)
  return asked === '-h' ? briefHelp(command, colors) : fullHelp(command, colors)
}

/** A command's name may be of several words: `handover report`. */
function commandOf(argv: readonly string[]): CommandHelp | undefined {
  return HELPS.find(({ name }) => name.split(' ').every((word, index) => word === argv[index]))
}

async function parse(argv: readonly string[]): Promise<Command> {
  const name = commandOf(argv)?.name
  if (name === undefined && argv[0] !== '--version') throw unknownCommand(argv, HELPS)
  const { buildCli } = await import('./commands/index.ts')
  try {
    return buildCli().process([...argv])
  } catch (error) {
    throw explainSyntaxError(error, name ?? '--version', HELPS)
  }
}
