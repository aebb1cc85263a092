import { Command } from 'clipanion'
import { platformTriple } from '../addon.ts'
import { ExitStatus } from '../errors.ts'
import { declareOptions, optionValues } from '../options/declare.ts'
import { jsonOption } from '../options/shared.ts'
import { Printer } from '../output/printer.ts'
import { VERSION } from '../version.ts'

const versionOptions = { json: jsonOption(['version']) }

/** `tapferry --version` */
export class VersionCommand extends Command {
  static override paths = [['--version']]

  constructor() {
    super()
    declareOptions(this, versionOptions)
  }

  async execute(): Promise<ExitStatus> {
    const { json = false } = optionValues(this, versionOptions)
    const printer = new Printer({ json, level: 'normal', color: 'auto' })
    const node = process.versions.node
    if (json) printer.record('version', { version: VERSION, node, platform: platformTriple() })
    else printer.data(`tapferry ${VERSION}\n`)
    return ExitStatus.Done
  }
}
