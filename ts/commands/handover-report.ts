import { Option as ClipanionOption, Command } from 'clipanion'
import { ExitStatus } from '../errors.ts'
import { handoverReportOptions } from '../handover/report/options.ts'
import { declareOptions, optionValues } from '../options/declare.ts'
import { Printer } from '../output/printer.ts'
import { VERSION } from '../version.ts'

/** `tapferry handover report` */
export class HandoverReportCommand extends Command {
  static override paths = [['handover', 'report']]
  readonly files = ClipanionOption.Rest()

  constructor() {
    super()
    declareOptions(this, handoverReportOptions)
  }

  async execute(): Promise<ExitStatus> {
    const { output, color = 'auto' } = optionValues(this, handoverReportOptions)
    const printer = new Printer({ json: false, level: 'normal', color })
    const { planPage, readReports, writePage } = await import('../handover/report/files.ts')
    const plan = planPage(this.files, output)
    const [{ pairOf }, { pageOf }] = await Promise.all([
      import('../handover/report/pair.ts'),
      import('../handover/report/page.ts'),
    ])
    const page = pageOf(pairOf(await readReports(plan.files)), VERSION)
    if (plan.output === undefined) {
      printer.data(page)
    } else {
      await writePage(plan.output, page)
      printer.notice(`wrote ${plan.output}`)
    }
    return ExitStatus.Done
  }
}
