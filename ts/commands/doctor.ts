import { Command } from 'clipanion'
import { doctorOptions } from '../doctor/options.ts'
import { requestOf } from '../doctor/request.ts'
import type { ExitStatus } from '../errors.ts'
import { declareOptions, optionValues } from '../options/declare.ts'
import { printDiagnosis } from '../output/findings.ts'
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
    const findings = runChecks(await gatherFacts(request))
    return printDiagnosis(findings, printer, { all: verbose, strict })
  }
}
