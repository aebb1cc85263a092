/** VMs that end, come back, are reset or are not there yet: the gate and the redirector go on. */

import type { ExecutionContext } from 'ava'
import { type Running, run, TAPFERRY } from '../support/cli.ts'
import type { Vm, VmOptions } from '../support/vm.ts'
import { eventsOf, exactly, only, type Site, statistics, summaryOf, testsWith } from './support.ts'

/** Each test has its own VM on tapA, and this one counts what is forwarded. */
const vmTest = testsWith(async site => {
  for (const tap of ['tapA', 'tapB0', 'tapB1']) await site.tap(tap)
  // An input that does not end with a VM.
  await site.lab.ask('tap', { name: 'tapH' })
  return { b: only(await site.boot({ name: 'b', netdevs: { hn0: 'tapB0', hn1: 'tapB1' } })) }
})

/** A VM that is gone after the test. */
async function start(t: ExecutionContext, site: Site, options: VmOptions): Promise<Vm> {
  const vm = await site.start(options)
  t.teardown(() => vm.kill())
  return vm
}

/** Two that follow the same VM: one captures from its TAP, the other from an interface that stays. */
async function follow(t: ExecutionContext, site: Site, vm: Vm): Promise<[ofVm: Running, ofHost: Running]> {
  const ferry = (input: string, index: number) =>
    site.ferry(
      t,
      `--in-netdev=${input}`,
      `--out-netdev=tapB${index}`,
      `--qmp=${vm.monitors[index]}`,
      '--json',
    )
  const both: [Running, Running] = [ferry('hn0', 0), ferry('tapH', 1)]
  await Promise.all(both.map(each => each.ready()))
  return both
}

/** Waits until each has told so many events of a kind. */
async function told(ferries: readonly Running[], event: string, times = 1, name?: string): Promise<void> {
  const count = (ferry: Running) =>
    eventsOf(ferry, event).filter(record => name === undefined || record['name'] === name).length
  await Promise.all(
    ferries.map(ferry => ferry.until(() => count(ferry) >= times, `${times} ${name ?? event}`)),
  )
}

/** Frames into the inputs of both, 100 each. */
async function send(site: Site, flow: number, ...inputs: readonly string[]): Promise<void> {
  for (const netdev of inputs) await site.send(netdev, { flow, count: 100 })
}

vmTest(
  'a VM that is killed and started again is followed again; the gate stays meanwhile',
  async (t, shared) => {
    const { site, b } = shared
    const options = { name: 'killed', netdevs: { hn0: 'tapA' }, monitors: 2 }
    const first = await start(t, site, options)
    const ferries = await follow(t, site, first)
    await send(site, 10, 'tapA', 'tapH')

    await first.kill()
    await told(ferries, 'monitor_lost')
    for (const ferry of ferries) t.like(await statistics(ferry), { gate: 'open', running: true })
    await send(site, 11, 'tapH')

    const second = await start(t, site, { ...options, paused: true, image: await site.image() })
    await told(ferries, 'monitor_regained')
    await told(ferries, 'gate_closed')
    await send(site, 12, 'tapA', 'tapH')
    await second.command('cont')
    await second.console.booted()
    await send(site, 13, 'tapA', 'tapH')

    const summaries = (await Promise.all(ferries.map(ferry => ferry.stop()))).map(end => summaryOf(t, end))
    t.like(summaries, [{ forwarded: 200 }, { forwarded: 300 }])
    const [fromVm, fromHost] = await b.received('eth0', 'eth1')
    for (const [flow, passesFromVm, passesFromHost] of [
      [10, true, true],
      [11, false, true],
      [12, false, false],
      [13, true, true],
    ] as const) {
      exactly(t, fromVm, passesFromVm ? [[0, 99]] : [], flow)
      exactly(t, fromHost, passesFromHost ? [[0, 99]] : [], flow)
    }
    exactly(t, only(await second.received('eth0')), [[0, 99]], 13)
    for (const { stderr } of ferries) {
      t.is(stderr.match(/monitor lost: .*the gate stays as it is/g)?.length, 1, stderr)
      t.is(stderr.match(/monitor regained: VM prelaunch/g)?.length, 1, stderr)
    }
  },
)

vmTest('a TAP that goes with its VM and comes with the next is captured from again', async (t, shared) => {
  const { site, b } = shared
  const options = { name: 'owner', netdevs: { hn0: 'tapQ' } }
  // The VM made it, so it is down.
  const bringUp = () => site.lab.ask('link', { name: 'tapQ', ipv6: false, up: true })
  const first = await start(t, site, options)
  await bringUp()
  const ferry = site.ferry(
    t,
    '--in-netdev=hn0',
    '--out-netdev=tapB0',
    `--qmp=${site.monitor('owner')}`,
    '--json',
  )
  t.regex(await ferry.ready(), /ready: hn0 \(tapQ\) -> tapB0/)
  await send(site, 20, 'tapQ')
  await first.kill()
  await told([ferry], 'input_missing')
  await told([ferry], 'monitor_lost')

  await start(t, site, options)
  await bringUp()
  await told([ferry], 'input_back')
  await told([ferry], 'monitor_regained')
  await send(site, 21, 'tapQ')
  t.like(summaryOf(t, await ferry.stop()), { captured: 200, forwarded: 200, input_outages: 1 })
  const tally = only(await b.received('eth0'))
  for (const flow of [20, 21]) exactly(t, tally, [[0, 99]], flow)
  t.is(eventsOf(ferry, 'input_missing').length, 1)
  t.is(eventsOf(ferry, 'input_back').length, 1)
})

vmTest('neither a reset nor the end of a VM moves the gate', async (t, shared) => {
  const { site, b } = shared
  const vm = await start(t, site, {
    name: 'reset',
    netdevs: { hn0: 'tapA' },
    monitors: 2,
    image: await site.image(),
  })
  await vm.console.booted()
  const ferries = await follow(t, site, vm)
  await vm.command('system_reset')
  await told(ferries, 'vm_event', 1, 'RESET')
  await vm.console.booted()
  await send(site, 30, 'tapA', 'tapH')
  exactly(t, only(await vm.received('eth0')), [[0, 99]], 30)

  await vm.command('stop')
  await told(ferries, 'gate_closed')
  await vm.command('system_reset')
  await told(ferries, 'vm_event', 2, 'RESET')
  await send(site, 31, 'tapA', 'tapH')
  await vm.command('cont')
  await told(ferries, 'gate_opened')
  await vm.command('quit')
  await vm.ended
  await told(ferries, 'vm_event', 1, 'SHUTDOWN')
  await told(ferries, 'monitor_lost')
  for (const ferry of ferries) t.like(await statistics(ferry), { gate: 'open', running: true })
  await send(site, 32, 'tapH')

  const summaries = (await Promise.all(ferries.map(ferry => ferry.stop()))).map(end => summaryOf(t, end))
  // The one frame more is that by which the guest's count is ended.
  t.like(summaries, [{ forwarded: 101 }, { forwarded: 200 }])
  const [fromVm, fromHost] = await b.received('eth0', 'eth1')
  for (const tally of [fromVm, fromHost]) {
    exactly(t, tally, [[0, 99]], 30)
    exactly(t, tally, [], 31)
  }
  exactly(t, fromHost, [[0, 99]], 32)
})

vmTest(
  'a monitor that another client holds: status 4 and why, or with --wait its turn',
  async (t, shared) => {
    const { site, b } = shared
    const vm = await start(t, site, { name: 'busy', netdevs: { hn0: 'tapA' } })
    const ends = ['--in-netdev=hn0', '--out-netdev=tapB0', `--qmp=${vm.monitors[0]}`, '--json']
    const holder = site.ferry(t, ...ends)
    await holder.ready()
    const waiting = site.ferry(t, ...ends, '--wait')
    const refused = await run(...site.lab.inside(TAPFERRY, 'run', ...ends))
    t.is(refused.status, 4, refused.stderr)
    t.regex(
      refused.stderr,
      /^tapferry: error: another client holds this monitor: .*qemu-system-x86.*\n {2}\S/,
    )
    await waiting.line(/waiting for the monitor: another client holds this monitor/)
    t.notRegex(waiting.stderr, /ready/)
    summaryOf(t, await holder.stop())
    await waiting.ready()
    await send(site, 40, 'tapA')
    t.like(summaryOf(t, await waiting.stop()), { forwarded: 100 })
    exactly(t, only(await b.received('eth0')), [[0, 99]], 40)
  },
)

vmTest('--wait: ready when the VM and its TAP have come', async (t, shared) => {
  const { site, b } = shared
  const ferry = site.ferry(
    t,
    '--wait',
    '--in-netdev=hn0',
    '--out-netdev=tapB0',
    `--qmp=${site.monitor('late')}`,
    '--json',
  )
  await ferry.line(/waiting for the monitor: no monitor at /)
  t.notRegex(ferry.stderr, /ready/)
  await start(t, site, { name: 'late', netdevs: { hn0: 'tapL' } })
  await site.lab.ask('link', { name: 'tapL', ipv6: false, up: true })
  t.regex(await ferry.ready(), /ready: hn0 \(tapL\) -> tapB0, frames to the guest, gate open \(VM running\)$/)
  await send(site, 50, 'tapL')
  t.like(summaryOf(t, await ferry.stop()), { captured: 100, forwarded: 100 })
  exactly(t, only(await b.received('eth0')), [[0, 99]], 50)
})
