import { Command } from 'clipanion'
import { bySeverity, exitStatusFor } from '../doctor/finding.ts'
import { doctorOptions } from '../doctor/options.ts'
import { requestOf } from '../doctor/request.ts'
import type { ExitStatus } from '../errors.ts'
import { declareOptions, optionValues } from '../options/declare.ts'
import { diagnosisRecord, findingRecord, findingsText } from '../output/findings.ts'
import { Printer } from '../output/printer.ts'

/** `tapferry doctor` */
export class DoctorCommand extends Command {
  static override paths = [['doctor']]

  constructor() {
    super()
    declareOptions(this, doctorOptions)
  }

  async execute(): Promise<ExitStatus> {
    const options = optionValues(this, doctorOptions)
    const { json = false, color = 'auto', strict = false, verbose = false } = options
    const request = requestOf(options, process.argv.slice(2))
    const printer = new Printer({ json, level: 'normal', color })
    const [{ gatherFacts }, { runChecks }] = await Promise.all([
      import('../doctor/facts.ts'),
      import('../doctor/checks/index.ts'),
    ])
    const findings = bySeverity(runChecks(await gatherFacts(request)))
    const status = exitStatusFor(findings, strict)
    for (const finding of findings) printer.record('finding', findingRecord(finding))
    printer.record('diagnosis', diagnosisRecord(findings, status))
    if (!json) printer.data(`${findingsText(findings, verbose, printer.stdoutColors)}\n`)
    return status
  }
}
