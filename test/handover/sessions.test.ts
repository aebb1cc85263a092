/** Both sides of a handover between two TAPs, with the core as it is; only the VMs are simulated. */

import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { Running, records, run, TAPFERRY } from '../support/cli.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { type Lab, labTest, orSkip } from '../support/lab.ts'
import { assertValid, isValid } from '../support/schema.ts'
import { SimulatedVm } from '../support/simulated-vm.ts'
import { needsQemu, Vm } from '../support/vm.ts'

interface Stage {
  readonly lab: Lab
  readonly source: SimulatedVm
  readonly destination: SimulatedVm
  readonly directory: string
  ferry(side: 'source' | 'dest', ...args: string[]): Running
}

async function stage(t: ExecutionContext, lab: Lab): Promise<Stage> {
  const directory = temporaryDirectory(t)
  for (const name of ['tapA', 'tapB']) await lab.ask('tap', { name, txqueuelen: 1000 })
  const source = await SimulatedVm.start(t, join(directory, 'qmp-a'), 'tapA')
  const destination = await SimulatedVm.start(t, join(directory, 'qmp-b'), 'tapB')
  destination.simulator.setStatus('inmigrate')
  const ferry = (side: 'source' | 'dest', ...args: string[]): Running => {
    const way = `${side === 'source' ? '--to' : '--from'}=unix:${join(directory, 'way')}`
    const vm = side === 'source' ? source : destination
    const common = [`--qmp=${vm.simulator.address}`, `--report=${join(directory, side)}`, '--json']
    const running = new Running(lab.inside(TAPFERRY, 'handover', side, way, ...common, ...args))
    t.teardown(async () => {
      await running.stop('SIGKILL')
    })
    return running
  }
  return { lab, source, destination, directory, ferry }
}

/** Waits until a side has entered a state. */
async function entered(running: Running, state: string): Promise<void> {
  await running.line(new RegExp(`"event":"state".*"state":"${state}"`))
}

async function reportOf({ directory }: Stage, side: 'source' | 'dest'): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(join(directory, side), 'utf8')) as Record<string, unknown>
}

async function queueLengths(lab: Lab): Promise<number[]> {
  const { stdout } = await run(...lab.inside('ip', '-json', 'link', 'show', 'type', 'tun'))
  return (JSON.parse(stdout) as { txqlen: number }[]).map(({ txqlen }) => txqlen)
}

labTest('a migration: every frame after the stop is handed over, and both sides say so', async (t, lab) => {
  const site = await stage(t, lab)
  const { source, destination, ferry } = site
  const ferryA = ferry('source')
  await ferryA.line(/waiting for the destination/)
  t.notRegex(ferryA.stderr, /ready/)
  const ferryB = ferry('dest')
  t.regex(await ferryB.ready(), /ready: unix:.*way -> hn0 \(tapB\), /)
  t.regex(await ferryA.ready(), /ready: hn0 \(tapA\) -> unix:.*way, armed$/)
  t.true(source.events)

  source.migrates('setup')
  await entered(ferryA, 'calibrate')
  source.migrates('active')
  await lab.ask('send', { netdev: 'tapA', flow: 1, count: 50 })
  source.simulator.stopVm('finish-migrate')
  await entered(ferryA, 'stopping')
  await lab.ask('send', { netdev: 'tapA', flow: 1, first: 50, count: 100 })
  await entered(ferryA, 'forward')
  source.migrates('completed')
  destination.simulator.resumeVm()
  await entered(ferryA, 'drain')
  const [endA, endB] = [await ferryA.end(), await ferryB.end()]
  t.is(endA.status, 0, endA.stderr)
  t.is(endB.status, 0, endB.stderr)
  t.regex(endA.stderr, /ready/)

  const [reportA, reportB] = [await reportOf(site, 'source'), await reportOf(site, 'dest')]
  for (const report of [reportA, reportB]) assertValid(t, 'handover', report)
  t.like(reportA, { side: 'source', outcome: 'done', vm: { name: 'web' } })
  t.like(reportB, { side: 'destination', outcome: 'done' })
  const [netdevA] = reportA['netdevs'] as [Record<string, number>]
  const [netdevB] = reportB['netdevs'] as [Record<string, number>]
  t.true((netdevA['captured'] ?? 0) >= 100, JSON.stringify(netdevA))
  t.is(netdevA['sent'], netdevA['captured'])
  t.is(netdevB['received'], netdevA['sent'])
  t.false(source.events, 'the capability is as it was')
  t.deepEqual(await queueLengths(lab), [1000, 1000])
  t.like(records(endA.stdout).at(-1), { type: 'handover_report', side: 'source' })
  for (const line of [...records(endA.stdout), ...records(endB.stdout)]) {
    assertValid(t, 'handover-lines', line)
    t.false(isValid('handover-lines', { ...line, surprise: 1 }))
  }
})

labTest(
  'a cancelled migration: both sides wait for the next one, a source that is persistent, and end when they are told to',
  async (t, lab) => {
    const site = await stage(t, lab)
    const { source, ferry } = site
    const ferryB = ferry('dest')
    await ferryB.ready()
    const ferryA = ferry('source', '--persistent')
    await ferryA.ready()
    source.migrates('active')
    await entered(ferryA, 'calibrate')
    source.simulator.stopVm('finish-migrate')
    await entered(ferryA, 'stopping')
    source.migrates('cancelling')
    source.simulator.resumeVm()
    source.migrates('cancelled')
    await ferryA.line(/armed again/)
    t.like(await reportOf(site, 'source'), { outcome: 'cancelled' })
    await ferryB.line(/waiting for the source again/)
    await ferryB.line(/the source is there again/)
    const [endA, endB] = [await ferryA.stop(), await ferryB.stop()]
    t.deepEqual([endA.status, endB.status], [0, 0], endA.stderr + endB.stderr)
    t.like(await reportOf(site, 'dest'), { outcome: 'stopped' })
    t.false(source.events)
  },
)

labTest('a migration that is cancelled before the VM stops ends the source, too', async (t, lab) => {
  const site = await stage(t, lab)
  const ferryA = site.ferry('source')
  await ferryA.line(/waiting for the destination/)
  site.source.migrates('setup')
  await entered(ferryA, 'calibrate')
  site.source.migrates('cancelled')
  const end = await ferryA.end()
  t.is(end.status, 0, end.stderr)
  t.like(await reportOf(site, 'source'), { outcome: 'cancelled' })
})

labTest('a stop and a resume without a migration mean nothing', async (t, lab) => {
  const site = await stage(t, lab)
  const ferryB = site.ferry('dest')
  const ferryA = site.ferry('source')
  await Promise.all([ferryA.ready(), ferryB.ready()])
  site.source.simulator.stopVm()
  site.source.simulator.resumeVm()
  await ferryA.line(/VM running/)
  const [endA, endB] = [await ferryA.stop(), await ferryB.stop()]
  t.deepEqual([endA.status, endB.status], [0, 0])
  for (const side of ['source', 'dest'] as const) t.like(await reportOf(site, side), { outcome: 'stopped' })
})

labTest('VMs in another state are refused, with the way out', async (t, lab) => {
  const site = await stage(t, lab)
  site.destination.simulator.setStatus('running')
  const dest = await site.ferry('dest').end()
  t.is(dest.status, 4)
  t.regex(dest.stderr, /does not wait for a migration: it is running\n {2}.*handover source/)
  t.like(records(dest.stdout)[0], { type: 'error', code: 'VM_NOT_INCOMING' })
  site.source.simulator.setStatus('inmigrate')
  const source = await site.ferry('source').end()
  t.is(source.status, 4)
  t.regex(source.stderr, /waits to be migrated here.*\n {2}.*handover dest/)
  t.like(records(source.stdout)[0], { type: 'error', code: 'VM_INCOMING' })
  site.source.simulator.setStatus('postmigrate')
  const late = await site.ferry('source').end()
  t.is(late.status, 4)
  t.like(records(late.stdout)[0], { type: 'error', code: 'VM_MIGRATED' })
})

labTest('a VM that ends without a migration is a failure of its own', async (t, lab) => {
  const directory = temporaryDirectory(t)
  if (!(await orSkip(t, needsQemu()))) return
  await lab.ask('tap', { name: 'tapA', held: false })
  const vm = await Vm.start(lab, directory, { name: 'hub', netdevs: { hn0: 'tapA' }, hub: true })
  t.teardown(() => vm.kill())
  const args = ['--json', `--qmp=${vm.monitors[0]}`, `--to=unix:${join(directory, 'way')}`]
  const ferry = new Running(lab.inside(TAPFERRY, 'handover', 'source', ...args))
  t.teardown(async () => {
    await ferry.stop('SIGKILL')
  })
  await ferry.line(/waiting for the destination/)
  await vm.kill()
  const end = await ferry.end()
  t.is(end.status, 4, end.stderr)
  t.like(records(end.stdout).at(-1), { type: 'error', code: 'VM_GONE' })
})

labTest('a netdev that the VM does not have, and one of the host that is not the VM', async (t, lab) => {
  const site = await stage(t, lab)
  for (const [name, reason] of [
    ['hn7', /not found: neither a netdev of the VM/],
    ['tapB', /is an interface of this host, and no netdev of the VM/],
  ] as const) {
    const end = await site.ferry('source', `--in-netdev=${name}`).end()
    t.is(end.status, 5, end.stderr)
    t.regex(end.stderr, reason)
  }
})

function reporting({ lab, source }: Stage, file: string): readonly [file: string, args: readonly string[]] {
  const args = [`--qmp=${source.simulator.address}`, '--to=unix:/nowhere/way', `--report=${file}`]
  return lab.inside(TAPFERRY, 'handover', 'source', ...args)
}

labTest('a report that cannot be written is a failure before anything begins', async (t, lab) => {
  const site = await stage(t, lab)
  for (const [file, reason] of [
    ['/nowhere/report', 'no such file or directory'],
    [site.directory, 'it is a directory'],
  ] as const) {
    const end = await run(...reporting(site, file))
    t.is(end.status, 1)
    t.true(end.stderr.includes(`error: no report can be written to '${file}': ${reason}\n`), end.stderr)
  }
})

labTest('a report whose directory goes meanwhile is a failure, and told', async (t, lab) => {
  const site = await stage(t, lab)
  const file = join(site.directory, 'there', 'report')
  await mkdir(dirname(file))
  const ferry = new Running(reporting(site, file))
  t.teardown(async () => {
    await ferry.stop('SIGKILL')
  })
  await ferry.line(/waiting for the destination/)
  await rm(dirname(file), { recursive: true })
  const end = await ferry.stop()
  t.is(end.status, 1)
  t.true(end.stderr.includes(`error: the report was not written to '${file}': no such file or directory\n`))
})

labTest('one that is killed leaves a longer queue, and the next one puts it right', async (t, lab) => {
  const site = await stage(t, lab)
  const killed = site.ferry('dest')
  await killed.ready()
  const raised = await queueLengths(lab)
  t.true(raised.includes(50_000), String(raised))
  t.is((await killed.stop('SIGKILL')).signal, 'SIGKILL')
  t.deepEqual(await queueLengths(lab), raised)
  const next = site.ferry('dest')
  await next.line(/the queue length of tapB is 1000 again: a handover that was killed/)
  await next.ready()
  t.is((await next.stop()).status, 0)
  t.deepEqual(await queueLengths(lab), [1000, 1000])
})
