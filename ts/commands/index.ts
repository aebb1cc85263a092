/** All commands, registered. */

import { Cli } from 'clipanion'
import { RunCommand } from './run.ts'
import { VersionCommand } from './version.ts'

export function buildCli(): Cli {
  return Cli.from([RunCommand, VersionCommand], { binaryName: 'tapferry', enableColors: false })
}
