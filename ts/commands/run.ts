import { Command } from 'clipanion'
import { ExitStatus } from '../errors.ts'
import { declareOptions, optionValues } from '../options/declare.ts'
import { planLines, planRecord } from '../output/plan.ts'
import { Printer } from '../output/printer.ts'
import { planAll } from '../qemu/plan.ts'
import { runOptions } from '../run/options.ts'

/** `tapferry run` */
export class RunCommand extends Command {
  static override paths = [['run']]

  constructor() {
    super()
    declareOptions(this, runOptions)
  }

  async execute(): Promise<ExitStatus> {
    const options = optionValues(this, runOptions)
    const { plans, notes } = planAll(options, process.argv.slice(3))
    const printer = new Printer({
      json: options.json ?? false,
      level: options.quiet ? 'quiet' : options.verbose ? 'verbose' : 'normal',
      color: options.color ?? 'auto',
    })
    if (options.dryRun) {
      if (printer.json) for (const plan of plans) printer.record('plan', planRecord(plan))
      else printer.data(plans.map(plan => planLines(plan, printer.stdoutColors)).join('\n'))
      printer.notes(notes)
      return ExitStatus.Done
    }
    const { runPlans } = await import('../run/session.ts')
    await runPlans(plans, notes, printer)
    return ExitStatus.Done
  }
}
