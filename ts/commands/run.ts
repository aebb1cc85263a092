import { Command } from 'clipanion'
import { ExitStatus } from '../errors.ts'
import { declareOptions, optionValues } from '../options/option.ts'
import type { CommandHelp } from '../output/help.ts'
import { planLines, planRecord } from '../output/plan.ts'
import { Printer } from '../output/printer.ts'
import { runOptions } from '../run/options.ts'
import { planRun } from '../run/plan.ts'

export const runHelp: CommandHelp = {
  name: 'run',
  summary: "Copy a VM's frames from one interface to another while the gate is open.",
  usage: 'tapferry run --in-netdev=NETDEV --out-netdev=NETDEV [options]',
  examples: [
    [
      "what the host sends to tapA's guest goes to tapB's guest as well",
      'tapferry run --in-netdev tapA --out-netdev tapB',
    ],
    [
      'only while the VM runs; its netdev by its QEMU id',
      'tapferry run --in-netdev hn0 --out-netdev tapB --qmp qmp0',
    ],
    [
      'only while the VM is stopped, as in a migration',
      'tapferry run --in-netdev hn0 --out-netdev tapB --qmp qmp0 --only-when-stopped',
    ],
    [
      'what the guest sends, to a sensor, for five minutes, counted as JSON',
      'tapferry run --in-netdev tapA --out-netdev m0 --queue=rx --duration=5m --json',
    ],
    [
      'from boot: wait for the VM, its monitor and its interfaces',
      'tapferry run --in-netdev hn0 --out-netdev tapB --qmp localhost:4444 --wait',
    ],
  ],
  options: runOptions,
  signals: [
    ['SIGINT, SIGTERM', 'stop and print the summary; a second one ends at once'],
    ['SIGUSR1', 'print statistics'],
  ],
}

/** `tapferry run` */
export class RunCommand extends Command {
  static override paths = [['run']]

  constructor() {
    super()
    declareOptions(this, runOptions)
  }

  async execute(): Promise<ExitStatus> {
    const options = optionValues(this, runOptions)
    const plan = planRun(options)
    const printer = new Printer({
      json: options.json ?? false,
      level: options.quiet ? 'quiet' : options.verbose ? 'verbose' : 'normal',
      color: options.color ?? 'auto',
    })
    if (options.dryRun) {
      if (printer.json) printer.record('plan', planRecord(plan))
      else printer.data(colors => planLines(plan, colors))
      return ExitStatus.Done
    }
    const { runRedirector } = await import('../run/session.ts')
    await runRedirector(plan, printer)
    return ExitStatus.Done
  }
}
