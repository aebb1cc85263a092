import { Command } from 'clipanion'
import { ExitStatus } from '../errors.ts'
import { netdevsOptions } from '../netdevs/options.ts'
import { declareOptions, optionValues } from '../options/declare.ts'
import { netdevRecord, netdevsText, vmRecord } from '../output/netdevs.ts'
import { Printer } from '../output/printer.ts'

/** `tapferry netdevs` */
export class NetdevsCommand extends Command {
  static override paths = [['netdevs']]

  constructor() {
    super()
    declareOptions(this, netdevsOptions)
  }

  async execute(): Promise<ExitStatus> {
    const { qmp, json = false, color = 'auto' } = optionValues(this, netdevsOptions)
    const printer = new Printer({ json, level: 'normal', color })
    const { describeVmAt, describeVms } = await import('../netdevs/inventory.ts')
    const vms = qmp === undefined ? await describeVms() : [await describeVmAt(qmp)]
    for (const vm of vms) {
      printer.record('vm', vmRecord(vm))
      for (const netdev of vm.netdevs) printer.record('netdev', netdevRecord(vm, netdev))
    }
    if (!json && vms.length > 0) printer.data(`${netdevsText(vms, printer.stdoutColors)}\n`)
    if (vms.length === 0)
      printer.notice('no VM found: no process of QEMU on this host that may be looked into')
    for (const { problem, name, pid } of vms) {
      if (problem === undefined) continue
      printer.warning(`${name ?? `VM of process ${pid}`}: ${problem.message}`)
      printer.hint(problem.hint)
    }
    return ExitStatus.Done
  }
}
