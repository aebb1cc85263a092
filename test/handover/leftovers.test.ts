/** What a killed handover leaves, and who puts it right. */

import { spawn } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { restoreCapabilities } from '../../ts/handover/capability-leftovers.ts'
import { type LeftoverRecord, putLeftoversRight, RAISED_QUEUE_LENGTH } from '../../ts/handover/leftovers.ts'
import { recordDirectories } from '../../ts/handover/records.ts'
import { startTimeOf } from '../../ts/host/processes.ts'
import { Monitor } from '../../ts/monitor/index.ts'
import { ROOT, Running, records, run, TAPFERRY } from '../support/cli.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { type Lab, labTest, orSkip, Unavailable } from '../support/lab.ts'
import { SimulatedVm } from '../support/simulated-vm.ts'

/** No process has it: the kernel's largest number is 2^22. */
const NOBODY = 2 ** 22 + 1

async function leave(
  path: string,
  changes: Partial<LeftoverRecord> & Record<string, unknown>,
): Promise<void> {
  const record = {
    ...{ version: 1, pid: NOBODY, startTime: '1', interface: 'tapA', ifindex: 1 },
    ...{ namespace: 'net:[1]', queueLength: 1000, ...changes },
  }
  await writeFile(join(path, `handover-${record.pid}-${record.ifindex}.json`), JSON.stringify(record))
}

test('records are kept in /run, else in the user runtime directory', t => {
  t.deepEqual(recordDirectories({}), ['/run/tapferry'])
  t.deepEqual(recordDirectories({ XDG_RUNTIME_DIR: '/run/user/7' }), [
    '/run/tapferry',
    '/run/user/7/tapferry',
  ])
})

test('a record of a process that lives is left alone', async t => {
  const path = temporaryDirectory(t)
  await leave(path, { pid: process.pid, startTime: (await startTimeOf(process.pid)) ?? '' })
  t.deepEqual(await putLeftoversRight({ directories: [path] }), [])
  t.is((await readdir(path)).length, 1)
})

test('one of an earlier process of the same number is put right', async t => {
  const path = temporaryDirectory(t)
  await leave(path, { pid: process.pid, startTime: '0' })
  t.is((await putLeftoversRight({ directories: [path] }))[0]?.action, 'none')
  t.deepEqual(await readdir(path), [])
})

test('of a network namespace that is gone there is nothing to put right', async t => {
  const path = temporaryDirectory(t)
  await leave(path, { namespace: 'net:[1]' })
  t.like((await putLeftoversRight({ directories: [path] }))[0], { action: 'none' })
  t.deepEqual(await readdir(path), [])
})

test('what is no record is neither read nor removed', async t => {
  const path = temporaryDirectory(t)
  await writeFile(join(path, 'handover-1-1.json'), 'nonsense')
  await writeFile(join(path, 'notes.txt'), 'mine')
  await leave(path, { version: 2 as 1, ifindex: 5 })
  await leave(path, { queueLength: -1, ifindex: 6 })
  t.deepEqual(await putLeftoversRight({ directories: [path, '/nowhere'] }), [])
  t.is((await readdir(path)).length, 4)
})

/** A killed source's record of the capability of the VM of that process. */
async function leaveCapability(path: string, monitor: string, vmPid: number): Promise<void> {
  const vmStartTime = (await startTimeOf(vmPid)) ?? '1'
  const record = { version: 1, pid: NOBODY, startTime: '1', monitor, vmPid, vmStartTime }
  await writeFile(join(path, `handover-${NOBODY}-events.json`), JSON.stringify(record))
}

test("a killed source's capability is switched off again where its VM still answers", async t => {
  const path = temporaryDirectory(t)
  const vm = await SimulatedVm.start(t, join(path, 'qmp'), 'tapA')
  vm.events = true
  // The simulator is in this process.
  await leaveCapability(path, vm.simulator.address, process.pid)
  t.like((await restoreCapabilities([path]))[0], { action: 'restored' })
  t.false(vm.events)
  t.deepEqual(await restoreCapabilities([path]), [])
})

test('that of a VM that has ended, or has made room for another, is left alone', async t => {
  const path = temporaryDirectory(t)
  const vm = await SimulatedVm.start(t, join(path, 'qmp'), 'tapA')
  vm.events = true
  const other = spawn('sleep', ['60'])
  t.teardown(() => other.kill())
  for (const pid of [NOBODY, other.pid ?? 0]) {
    await leaveCapability(path, vm.simulator.address, pid)
    t.like((await restoreCapabilities([path]))[0], { action: 'none' })
  }
  t.true(vm.events)
  t.deepEqual(await readdir(path), ['qmp'])
})

test('a monitor that has another client is tried again another time', async t => {
  const path = temporaryDirectory(t)
  const vm = await SimulatedVm.start(t, join(path, 'qmp'), 'tapA')
  const client = await Monitor.connect({ address: vm.simulator.address })
  t.teardown(() => client.close())
  await leaveCapability(path, vm.simulator.address, process.pid)
  t.like((await restoreCapabilities([path]))[0], { action: 'failed' })
  t.is((await readdir(path)).length, 2)
})

labTest('a source that is killed has its capability switched off by a cleanup', async (t, lab) => {
  const path = temporaryDirectory(t)
  await lab.ask('tap', { name: 'tapA' })
  const vm = await SimulatedVm.start(t, join(path, 'qmp'), 'tapA')
  const env = { XDG_RUNTIME_DIR: path }
  const options = [`--qmp=${vm.simulator.address}`, `--to=unix:${path}/way`]
  const source = new Running(lab.inside(TAPFERRY, 'handover', 'source', ...options), { env })
  await source.line(/waiting for the destination/)
  t.true(vm.events)
  await source.stop('SIGKILL')
  t.true(vm.events)
  const done = await run(...lab.inside(TAPFERRY, 'handover', 'cleanup'), { env })
  t.regex(done.stderr, /capability 'events' of the VM at .* is off again/)
  t.false(vm.events)
})

/** A record about tapA, with the queue length that the TAP has now. */
async function raised(
  t: ExecutionContext,
  lab: Lab,
  length: number,
): Promise<{ path: string; namespace: string; ifindex: number }> {
  const path = temporaryDirectory(t)
  await lab.ask('tap', { name: 'tapA', txqueuelen: length })
  const netns = await run('readlink', [`/proc/${lab.pid}/ns/net`])
  const link = await run(...lab.inside('ip', '-json', 'link', 'show', 'tapA'))
  const [{ ifindex }] = JSON.parse(link.stdout) as [{ ifindex: number }]
  const namespace = netns.stdout.trim()
  await leave(path, { namespace, ifindex })
  return { path, namespace, ifindex }
}

async function queueLength(lab: Lab): Promise<number> {
  const { stdout } = await run(...lab.inside('ip', '-json', 'link', 'show', 'tapA'))
  return (JSON.parse(stdout) as [{ txqlen: number }])[0].txqlen
}

labTest('a queue length that is still ours is set back, wherever the interface is', async (t, lab) => {
  const { path } = await raised(t, lab, RAISED_QUEUE_LENGTH)
  const [leftover] = await putLeftoversRight({ directories: [path] })
  t.like(leftover, { action: 'restored', problem: undefined })
  t.is(await queueLength(lab), 1000)
  t.deepEqual(await readdir(path), [])
})

labTest('while frames are sent it stays, unless it is asked for', async (t, lab) => {
  const { path } = await raised(t, lab, RAISED_QUEUE_LENGTH)
  await lab.ask('send-start', { name: 'traffic', netdev: 'tapA', rate: 1000 })
  t.like((await putLeftoversRight({ directories: [path] }))[0], { action: 'busy' })
  t.is(await queueLength(lab), RAISED_QUEUE_LENGTH)
  t.is((await readdir(path)).length, 1)
  t.like((await putLeftoversRight({ directories: [path], force: true }))[0], { action: 'forced' })
  t.is(await queueLength(lab), 1000)
  t.deepEqual(await readdir(path), [])
  await lab.ask('send-stop', { name: 'traffic' })
})

labTest('one that somebody has changed since is not ours to change', async (t, lab) => {
  const { path } = await raised(t, lab, 4321)
  t.like((await putLeftoversRight({ directories: [path] }))[0], { action: 'none' })
  t.is(await queueLength(lab), 4321)
})

/** A process that has closed a gate before tapA at clsact. */
async function gateKeeper(t: ExecutionContext, lab: Lab): Promise<Running> {
  const script = `
    const { loadBinding } = await import('${ROOT}ts/native.ts')
    const handle = await loadBinding().HandoverDestination.start({
      from: { unix: '${temporaryDirectory(t)}/way' },
      netdevs: [{ netdev: 'tapA', identity: { vmName: 'web', netdevId: 'hn0' } }],
      ...{ maxHoldBytes: 1 << 20, mark: 1, resumeTimeoutMs: 60_000, gate: 'cls_bpf' },
    }, ({ type, message }) => type === 'warning' && console.log(message))
    const [{ gate }] = await handle.reports()
    if (gate !== undefined) console.log('closed: ' + gate)
    setInterval(() => {}, 1 << 30)`
  const node = [process.execPath, '--import', '@oxc-node/core/register', '--input-type=module']
  const keeper = new Running(lab.inside(...node, '-e', script))
  t.teardown(() => keeper.stop('SIGKILL'))
  const said = await keeper.line(/^closed|^there is no gate/)
  if (!said.startsWith('closed')) throw new Unavailable(said)
  return keeper
}

labTest('a gate that was left at clsact is taken away, and clsact with it', async (t, lab) => {
  const { namespace, ifindex } = await raised(t, lab, 1000)
  const keeper = await orSkip(t, gateKeeper(t, lab))
  if (keeper === undefined) return
  const show = async (...what: string[]) => (await run(...lab.inside('tc', ...what, 'dev', 'tapA'))).stdout
  await keeper.stop('SIGKILL')
  t.regex(await show('filter', 'show', 'egress'), /tapferry_gate/)
  t.is(await queueLength(lab), RAISED_QUEUE_LENGTH)

  const runtime = temporaryDirectory(t)
  const path = join(runtime, 'tapferry')
  await mkdir(path)
  await leave(path, { pid: keeper.pid, namespace, ifindex })
  const done = await run(...lab.inside(TAPFERRY, 'handover', 'cleanup'), {
    env: { XDG_RUNTIME_DIR: runtime },
  })
  t.is(done.status, 0, done.stderr)
  t.regex(done.stderr, /the gate before tapA is gone: a handover that was killed .* had left it, open/)
  t.regex(done.stderr, /the queue length of tapA is 1000 again/)
  t.is(await show('filter', 'show', 'egress'), '')
  t.notRegex(await show('qdisc', 'show'), /clsact/)
  t.deepEqual(await readdir(path), [])
})

labTest('without the privilege the record stays, for who has it', async (t, lab) => {
  const runtime = temporaryDirectory(t)
  const { path, ifindex } = await raised(t, lab, RAISED_QUEUE_LENGTH)
  const name = `handover-${NOBODY}-${ifindex}.json`
  const file = join(runtime, 'tapferry', name)
  await run('mkdir', ['-p', join(runtime, 'tapferry')])
  await writeFile(file, await readFile(join(path, name)))
  const env = { XDG_RUNTIME_DIR: runtime }
  const powerless = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin', '--']

  const refused = await run(...lab.inside(...powerless, TAPFERRY, 'handover', 'cleanup', '--json'), { env })
  t.is(refused.status, 1, refused.stderr)
  t.regex(
    refused.stderr,
    /warning: what a handover that was killed .* has changed on tapA is still so: .*not permitted/,
  )
  t.like(records(refused.stdout)[0], { event: 'leftover', netdev: 'tapA', code: 'PERMISSION' })

  const done = await run(...lab.inside(TAPFERRY, 'handover', 'cleanup'), { env })
  t.is(done.status, 0, done.stderr)
  t.regex(done.stderr, /the queue length of tapA is 1000 again/)
  t.is(await queueLength(lab), 1000)
  const again = await run(...lab.inside(TAPFERRY, 'handover', 'cleanup'), { env })
  t.regex(again.stderr, /nothing is left of a handover/)
})
