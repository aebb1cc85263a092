/** All commands, registered. */

import { Cli } from 'clipanion'
import { DoctorCommand } from './doctor.ts'
import { HandoverReportCommand } from './handover-report.ts'
import { NetdevsCommand } from './netdevs.ts'
import { RunCommand } from './run.ts'
import { VersionCommand } from './version.ts'

export function buildCli(): Cli {
  return Cli.from([RunCommand, NetdevsCommand, DoctorCommand, HandoverReportCommand, VersionCommand], {
    binaryName: 'tapferry',
    enableColors: false,
  })
}
