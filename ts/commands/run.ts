import { Command } from 'clipanion'
import { ExitStatus } from '../errors.ts'
import { declareOptions, optionValues } from '../options/declare.ts'
import { planLines, planRecord } from '../output/plan.ts'
import { Printer } from '../output/printer.ts'
import { runOptions } from '../run/options.ts'
import { planRun } from '../run/plan.ts'

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
      else printer.data(planLines(plan, printer.stdoutColors))
      return ExitStatus.Done
    }
    const { runRedirector } = await import('../run/session.ts')
    await runRedirector(plan, printer)
    return ExitStatus.Done
  }
}
