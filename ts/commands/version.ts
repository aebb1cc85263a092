import { Command } from 'clipanion'
import { ExitStatus } from '../errors.ts'
import { VERSION } from '../version.ts'

/** `tapferry --version` */
export class VersionCommand extends Command {
  static override paths = [['--version']]

  async execute(): Promise<ExitStatus> {
    process.stdout.write(`tapferry ${VERSION}\n`)
    return ExitStatus.Done
  }
}
