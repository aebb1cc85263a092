/** Faults of the monitor: held, closed, stopped, elsewhere, forgotten. */

import { chmod } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { findBothEnds } from '../../ts/host/listeners.ts'
import { parseMonitorAddress } from '../../ts/monitor/index.ts'
import { QmpSimulator } from '../../ts/monitor/simulator.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { Lab, labTest, orSkip } from '../support/lab.ts'
import { needsQemu, Vm } from '../support/vm.ts'
import {
  asNobody,
  background,
  doctor,
  ENDS,
  type Fault,
  ferry,
  finds,
  findsAndMends,
  found,
  needsNobody,
  pidOf,
  problems,
  twoTaps,
} from './support.ts'

/** A VM's monitor without the VM. */
async function simulate(t: ExecutionContext, options: { running?: boolean } = {}): Promise<QmpSimulator> {
  const simulator = await QmpSimulator.listen({ address: join(temporaryDirectory(t), 'vm.qmp'), ...options })
  t.teardown(() => simulator.close())
  return simulator
}

/**
 * A real VM with a monitor, its TAP and `tapB` in the lab. Other VMs of this host must not be taken for it, so its
 * names are its own. It is not started, which is running enough to be asked.
 */
async function startVm(t: ExecutionContext, lab: Lab, taps = { hnDoctor: 'tapDoctor' }): Promise<Vm> {
  for (const name of Object.values(taps)) await lab.ask('tap', { name, held: false })
  const vm = await Vm.start(lab, temporaryDirectory(t), { name: 'doctor', netdevs: taps, paused: true })
  t.teardown(() => vm.kill())
  return vm
}

function vmTest(title: string, body: (t: ExecutionContext, lab: Lab) => Promise<void>): void {
  labTest(title, async (t, lab) => {
    if (await orSkip(t, needsQemu())) await body(t, lab)
  })
}

/** A client in a process of its own, which is served and stays. */
async function holder(t: ExecutionContext, lab: Lab, address: string): Promise<void> {
  const script = `require('node:net').connect(process.argv[1]).pipe(process.stdout)`
  await background(t, lab.inside(process.execPath, '--eval', script, address)).line(/"QMP"/)
}

labTest('a monitor that answers, of a VM that runs', async (t, lab) => {
  await twoTaps(lab)
  const vm = await simulate(t)
  const diagnosis = await doctor(t, lab, { args: [...ENDS, `--qmp=${vm.address}`, '--strict'] })
  t.deepEqual(problems(diagnosis), [])
  t.is(found(diagnosis, 'MONITOR_READY')[0]?.message, 'it answers: the VM is running')
})

vmTest('another client holds the monitor', async (t, lab) => {
  await twoTaps(lab)
  const [address = ''] = (await startVm(t, lab)).monitors
  const { fix, note } = await findsAndMends(t, lab, {
    ...{ code: 'MONITOR_BUSY', severity: 'error', status: 4, about: `monitor ${address}` },
    message: /another client holds this monitor/,
    // That its netdevs are not to be told then is no fault of its own.
    faulty: { args: ['--in-netdev=hnDoctor', '--out-netdev=tapB', `--qmp=${address}`] },
    seed: () => holder(t, lab, address),
  })
  t.regex(fix ?? '', /^kill \d+$/)
  t.regex(note ?? '', /that is node; if it is to stay, give the VM one more: -qmp /)
})

vmTest(
  'a running tapferry holds the monitor, as it should, and both ends are looked at all the same',
  async (t, lab) => {
    await twoTaps(lab)
    const [address = ''] = (await startVm(t, lab)).monitors
    const args = ['--in-netdev=hnDoctor', '--out-netdev=tapB', `--qmp=${address}`]
    const running = await ferry(t, lab, ...args)
    const diagnosis = await doctor(t, lab, { args: [...args, '--strict'] })
    t.deepEqual(problems(diagnosis), [])
    t.is(diagnosis.status, 0)
    const [followed] = found(diagnosis, 'MONITOR_FOLLOWED')
    t.is(followed?.message, `tapferry ${running.pid} holds it, and follows the VM`)
    t.regex(found(diagnosis, 'FERRY_TWICE')[0]?.message ?? '', /already goes from tapDoctor to tapB/)
  },
)

labTest('who may not be connected is in the way, on the way to the socket or at it', async (t, lab) => {
  if (!(await orSkip(t, needsNobody()))) return
  await twoTaps(lab)
  const vm = await simulate(t)
  const faulty = { args: [...ENDS, `--qmp=${vm.address}`], wrapper: asNobody('net_raw') }
  const fault: Fault = {
    ...{ code: 'MONITOR_PERMISSION', severity: 'error', status: 3 },
    ...{ message: /no permission to connect to the monitor/, faulty },
  }
  await chmod(dirname(vm.address), 0o755)
  await chmod(vm.address, 0o777)
  const atSocket = await findsAndMends(t, lab, { ...fault, seed: () => chmod(vm.address, 0o700) })
  t.is(atSocket.fix, `chown 65534 ${vm.address} && chmod u+rw ${vm.address}`)
  const onTheWay = await findsAndMends(t, lab, { ...fault, seed: () => chmod(dirname(vm.address), 0o700) })
  t.true(onTheWay.fix?.startsWith(`chmod o+x ${dirname(vm.address)} && `), onTheWay.fix)
})

labTest('what listens there is no monitor', async (t, lab) => {
  await twoTaps(lab)
  const path = join(temporaryDirectory(t), 'other')
  const server = createServer(socket => socket.on('error', () => {}).end('SSH-2.0-OpenSSH_9.2\r\n'))
  await new Promise<void>(resolve => server.listen(path, resolve))
  t.teardown(() => server.close())
  const { fix, note } = await finds(t, lab, {
    ...{ code: 'MONITOR_NOT_QMP', severity: 'error', status: 4 },
    message: /is not a QMP monitor: it sent 'SSH-2.0/,
    healthy: {},
    faulty: { args: [...ENDS, `--qmp=${path}`] },
  })
  t.is(fix, undefined)
  t.regex(note ?? '', /-qmp socket/)
})

labTest('the VM is stopped, and the gate would be closed', async (t, lab) => {
  await twoTaps(lab)
  const vm = await simulate(t)
  const { fix } = await finds(t, lab, {
    ...{ code: 'GATE_CLOSED', severity: 'info', status: 0 },
    message: /no frame would pass now: the VM is paused; cont starts it, and --enable-when-stopped lets/,
    faulty: { args: [...ENDS, `--qmp=${vm.address}`] },
    seed: async () => vm.stopVm(),
  })
  t.is(fix, undefined)
})

vmTest('the VM is frozen', async (t, lab) => {
  await twoTaps(lab)
  const vm = await startVm(t, lab)
  const [address = ''] = vm.monitors
  const { pid = 0 } = (await findBothEnds(parseMonitorAddress(address))).server ?? {}
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'MONITOR_FROZEN', severity: 'error', status: 4 },
    message: /the process behind the monitor .* is stopped: qemu-system-x86, pid \d+, state T/,
    faulty: { args: ['--in-netdev=hnDoctor', '--out-netdev=tapB', `--qmp=${address}`] },
    seed: async () => process.kill(pid, 'SIGSTOP'),
  })
  t.is(fix, `kill -CONT ${pid}`)
})

vmTest('the path of the monitor is wrong', async (t, lab) => {
  await twoTaps(lab)
  const vm = await startVm(t, lab)
  const ends = ['--in-netdev=hnDoctor', '--out-netdev=tapB']
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'MONITOR_NOT_FOUND', severity: 'error', status: 4 },
    message: /no monitor at .*: no such socket \(ENOENT\)/,
    healthy: { args: [...ends, `--qmp=${vm.monitors[0]}`] },
    faulty: { args: [...ends, '--qmp=/run/no-such.qmp'] },
  })
  t.true(fix?.endsWith(` --qmp=${vm.monitors[0]}`), fix)
})

vmTest("a netdev's id says nothing without the monitor", async (t, lab) => {
  await twoTaps(lab)
  const vm = await startVm(t, lab)
  const ends = ['--in-netdev=hnDoctor', '--out-netdev=tapB']
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'NETDEV_NOT_FOUND', severity: 'error', status: 5, about: 'in_netdev hnDoctor' },
    message: /no interface of that name, but VM doctor has that netdev/,
    healthy: { args: [...ends, `--qmp=${vm.monitors[0]}`] },
    faulty: { args: ends },
  })
  t.true(fix?.endsWith(` --qmp=${vm.monitors[0]}`), fix)
})

vmTest("a typing error in a netdev's id", async (t, lab) => {
  await twoTaps(lab)
  const vm = await startVm(t, lab)
  const qmp = `--qmp=${vm.monitors[0]}`
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'NETDEV_ID_UNKNOWN', severity: 'error', status: 5, about: 'in_netdev hnDokter' },
    message: /neither a netdev of the VM .* nor a host interface; the VM's netdevs are: hnDoctor/,
    healthy: { args: ['--in-netdev=hnDoctor', '--out-netdev=tapB', qmp] },
    faulty: { args: ['--in-netdev=hnDokter', '--out-netdev=tapB', qmp] },
  })
  t.true(fix?.endsWith(' --in-netdev=hnDoctor'), fix)
})

vmTest('the VM has a monitor that is not used', async (t, lab) => {
  await twoTaps(lab)
  const vm = await startVm(t, lab)
  const ends = ['--in-netdev=tapDoctor', '--out-netdev=tapB']
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'MONITOR_UNUSED', severity: 'info', status: 0 },
    message: /its run state is not followed, though it has a monitor/,
    healthy: { args: [...ends, `--qmp=${vm.monitors[0]}`] },
    faulty: { args: ends },
  })
  t.true(fix?.endsWith(` --qmp=${vm.monitors[0]}`), fix)
})

vmTest("the VM's TAP is in a network namespace that has no name", async (t, lab) => {
  await twoTaps(lab)
  const elsewhere = await Lab.open()
  t.teardown(() => elsewhere.close())
  await startVm(t, elsewhere, { hnDoctor: 'tapFar' })
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'NETDEV_NOT_FOUND', severity: 'error', status: 5, about: 'out_netdev tapFar' },
    message: /none of that name here, but one in network namespace \d+/,
    healthy: {},
    faulty: { args: ['--in-netdev=tapA', '--out-netdev=tapFar'] },
  })
  t.true(fix?.endsWith(` --out-netns=${pidOf(elsewhere)}`), fix)
})
