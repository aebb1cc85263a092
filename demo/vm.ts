/** The VM behind tapA: a guest of QEMU, or, where there can be none, a simulated one. */

import { join } from 'node:path'
import { Monitor } from '../ts/monitor/index.ts'
import { QmpSimulator } from '../ts/monitor/simulator.ts'
import { formatDuration } from '../ts/output/format.ts'
import { Child } from './child.ts'
import type { Cleanup } from './cleanup.ts'
import type { Lab, Tally } from './lab.ts'
import { say, sayBooting } from './report.ts'
import { type Guest, type GuestImage, QEMU } from './surroundings.ts'

/** The VM's netdev, and the TAP behind it. */
export const NETDEV = 'hn0'
export const TAP = 'tapA'

/** tapferry's monitor, in the demo's directory. A monitor serves one client, so the demo has another one. */
export const MONITOR = 'qmp0'
const OWN_MONITOR = 'qmp1'

export interface Vm {
  /** As an operator stops it and lets it go on over QMP; resolves when the VM has answered. */
  stop(): Promise<void>
  cont(): Promise<void>
  /** What the guest has read since it started, as soon as it is so many frames or a few seconds are over. */
  received(atLeast: number): Promise<Tally>
}

/** Starts the VM and waits until its guest reads frames. */
export async function startVm(guest: Guest, lab: Lab, directory: string, cleanup: Cleanup): Promise<Vm> {
  if ('missing' in guest) return startSimulated(lab, directory, cleanup)
  return startQemu(guest.image, lab, directory, cleanup)
}

async function startQemu(image: GuestImage, lab: Lab, directory: string, cleanup: Cleanup): Promise<Vm> {
  await lab.ask('tap', { name: TAP, held: false })
  sayBooting()
  const qemu = new Child(
    'QEMU',
    lab.inside(
      ...([QEMU, '-accel', 'tcg', '-M', 'q35', '-m', '128', '-nodefaults', '-no-reboot'] as const),
      ...['-display', 'none', '-serial', 'stdio'],
      ...['-kernel', image.kernel, '-initrd', image.initrd, '-append', image.cmdline],
      ...['-netdev', `tap,id=${NETDEV},ifname=${TAP},script=no,downscript=no`],
      ...['-device', `virtio-net-pci,netdev=${NETDEV}`],
      ...[MONITOR, OWN_MONITOR].flatMap(path => ['-qmp', `unix:${path},server=on,wait=off`]),
    ),
    directory,
  )
  cleanup.add(() => qemu.kill())
  const { uptimeMs } = await qemu.expect(line => line['guest'] === 'ready')
  say(`up after ${formatDuration(Number(uptimeMs))}`)
  const monitor = await Monitor.connect({ address: join(directory, OWN_MONITOR) })
  cleanup.add(() => monitor.close())

  return {
    stop: () => monitor.command('stop').then(() => {}),
    cont: () => monitor.command('cont').then(() => {}),
    async received(atLeast) {
      const deadline = performance.now() + 10_000
      for (;;) {
        const report = qemu.expect(line => line['guest'] === 'report')
        qemu.write('report')
        const [tally] = Object.values((await report)['nics'] as Record<string, Tally>)
        if (tally === undefined) throw new Error('the guest has no network interface')
        if (tally.frames >= atLeast || performance.now() > deadline) return tally
      }
    },
  }
}

/** QEMU's monitor by the simulator of the tests; the guest is the lab, reading tapA unless it is stopped. */
async function startSimulated(lab: Lab, directory: string, cleanup: Cleanup): Promise<Vm> {
  await lab.ask('tap', { name: TAP })
  const simulator = await QmpSimulator.listen({
    address: join(directory, MONITOR),
    infoNetwork: `${NETDEV}: index=0,type=tap,ifname=${TAP},script=no,downscript=no\r\n`,
  })
  cleanup.add(() => simulator.close())
  return {
    async stop() {
      await lab.ask('reading', { netdev: TAP, on: false })
      simulator.stopVm()
    },
    async cont() {
      await lab.ask('reading', { netdev: TAP, on: true })
      simulator.resumeVm()
    },
    received: atLeast => lab.ask<Tally>('received', { netdev: TAP, atLeast, timeoutMs: 10_000 }),
  }
}
