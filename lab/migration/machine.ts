/** The VM: booted once, and waiting on the other host for every migration. Both have the same machine. */

import { setTimeout as sleep } from 'node:timers/promises'
import { type GuestImage, Vm, type VmOptions } from '../../test/support/vm.ts'
import type { Cleanup } from './cleanup.ts'
import { CLIENT_ADDRESSES, GUEST_ADDRESSES, type Host, PREFIX } from './network.ts'
import type { Machine } from './variants.ts'

/** Of the first and the second NIC: QEMU's id of the netdev, the address, and the guest's name. */
export const NICS = [
  { netdev: 'hn0', mac: '52:54:00:00:00:01', nic: 'eth0' },
  { netdev: 'hn1', mac: '52:54:00:00:00:02', nic: 'eth1' },
] as const

/**
 * Not 128M: where a block of memory is a multiple of 256 KiB, the dirty bitmap of QEMU's emulation forgets a page
 * now and then, and the guest has lost what was in it.
 */
const MEMORY = '131080K'

const PING_ATTEMPTS = 20
const PING_PAUSE_MS = 100

export class Machines {
  readonly #directory: string
  readonly #image: GuestImage
  readonly #machine: Machine
  readonly #cleanup: Cleanup
  #started = 0

  constructor(directory: string, image: GuestImage, machine: Machine, cleanup: Cleanup) {
    this.#directory = directory
    this.#image = image
    this.#machine = machine
    this.#cleanup = cleanup
  }

  /** Boots on a host, and lets the network learn where the guest is. */
  async boot(host: Host): Promise<Vm> {
    const vm = await this.#start(host, {})
    await vm.console.booted()
    for (const [index, { nic }] of NICS.slice(0, host.taps.length).entries()) {
      await vm.console.ask(`address ${nic} ${GUEST_ADDRESSES[index]}/${PREFIX}`, 'addressed')
      await reach(vm, CLIENT_ADDRESSES[index] ?? '')
    }
    return vm
  }

  /** Waits on a host for the state of another VM. */
  incoming(host: Host): Promise<Vm> {
    return this.#start(host, { incoming: true })
  }

  async #start({ name, lab, taps }: Host, more: Partial<VmOptions>): Promise<Vm> {
    this.#started += 1
    const { nic = '', vnetHdr = true, queues = 1 } = this.#machine
    const vm = await Vm.start(lab, this.#directory, {
      name: `${name}${this.#started}`,
      netdevs: Object.fromEntries(
        NICS.slice(0, taps.length).map(({ netdev, mac }, index) => [
          netdev,
          { tap: taps[index] ?? '', vnetHdr, nic: [`mac=${mac}`, nic].filter(Boolean).join() },
        ]),
      ),
      image: this.#image,
      memory: MEMORY,
      queues,
      ...more,
    })
    this.#cleanup.add(() => vm.kill())
    return vm
  }
}

async function reach({ console }: Vm, address: string): Promise<void> {
  for (let attempt = 0; attempt < PING_ATTEMPTS; attempt += 1) {
    const { answers } = await console.ask(`ping ${address} 1`, 'pinged')
    if (answers === 1) return
    await sleep(PING_PAUSE_MS)
  }
  throw new Error(`the guest does not reach ${address}`)
}
