/** A VM to migrate, of which there is the monitor only. */

import type { ExecutionContext } from 'ava'
import { QmpSimulator, type SimulatedCommand } from '../../ts/monitor/simulator.ts'

/** A VM with a netdev at each TAP, hn0 and so on; it remembers its migration capability. */
export class SimulatedVm {
  events = false
  migration: string | undefined
  readonly simulator: QmpSimulator

  static async start(
    t: ExecutionContext,
    address: string,
    taps: string | readonly string[],
    uuid = '6f1e7a3c-0000-4000-8000-123456789abc',
  ): Promise<SimulatedVm> {
    let vm: SimulatedVm | undefined
    const commands: Record<string, SimulatedCommand> = {
      'query-name': () => ({ name: 'web' }),
      'query-uuid': () => ({ UUID: uuid }),
      'query-migrate': () => (vm?.migration === undefined ? {} : { status: vm.migration }),
      'query-migrate-capabilities': () => [{ capability: 'events', state: vm?.events ?? false }],
      'migrate-set-capabilities': ({ capabilities }) => {
        const [{ state }] = capabilities as [{ state: boolean }]
        if (vm !== undefined) vm.events = state
        return {}
      },
    }
    const infoNetwork = [taps]
      .flat()
      .flatMap((tap, index) => [
        `net${index}: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:5${6 + index}\r\n`,
        ` \\ hn${index}: index=0,type=tap,ifname=${tap},script=no,downscript=no\r\n`,
      ])
      .join('')
    const simulator = await QmpSimulator.listen({ address, infoNetwork, commands })
    t.teardown(() => simulator.close())
    vm = new SimulatedVm(simulator)
    return vm
  }

  private constructor(simulator: QmpSimulator) {
    this.simulator = simulator
  }

  migrates(status: string): void {
    this.migration = status
    this.simulator.emit('MIGRATION', { status })
  }
}
