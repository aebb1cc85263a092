/** All commands, registered. */

import { Cli } from 'clipanion'
import { DoctorCommand } from './doctor.ts'
import {
  HandoverCheckDestinationCommand,
  HandoverCheckSourceCommand,
  HandoverCleanupCommand,
  HandoverDestinationCommand,
  HandoverSourceCommand,
} from './handover.ts'
import { HandoverReportCommand } from './handover-report.ts'
import { NetdevsCommand } from './netdevs.ts'
import { RunCommand } from './run.ts'
import { VersionCommand } from './version.ts'

export function buildCli(): Cli {
  return Cli.from(COMMANDS, { binaryName: 'tapferry', enableColors: false })
}

const COMMANDS = [
  RunCommand,
  HandoverSourceCommand,
  HandoverDestinationCommand,
  HandoverCheckSourceCommand,
  HandoverCheckDestinationCommand,
  HandoverCleanupCommand,
  HandoverReportCommand,
  NetdevsCommand,
  DoctorCommand,
  VersionCommand,
]
