/** Faults of ends that are streams: taken, missing, closed, other headers. Nothing is ever connected to. */

import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { parseStreamEnd } from '../../ts/stream/address.ts'
import { tapferry } from '../support/cli.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { labTest, orSkip } from '../support/lab.ts'
import { plugChardev, plugFilter } from '../support/stream.ts'
import { needsQemu, Vm } from '../support/vm.ts'
import { facts, only, request } from './facts.ts'
import {
  asNobody,
  background,
  doctor,
  ferry,
  finds,
  findsAndMends,
  found,
  needsNobody,
  problems,
} from './support.ts'

/** Somebody who listens at a path, and how many came. */
async function listen(t: ExecutionContext, path: string): Promise<{ connections: number; server: Server }> {
  const state = { connections: 0, server: createServer() }
  state.server.on('connection', () => {
    state.connections += 1
  })
  await new Promise<void>(resolve => state.server.listen(path, resolve))
  t.teardown(() => state.server.close())
  return state
}

labTest('somebody listens already: connect instead', async (t, lab) => {
  const path = join(temporaryDirectory(t), 'a,b')
  let connections = () => 0
  const { fix = '' } = await findsAndMends(t, lab, {
    ...{ code: 'STREAM_IN_USE', severity: 'error', status: 1, message: /node.* \(pid \d+\) listens there/ },
    faulty: { args: ['--indev', `unix:${path.replace(',', ',,')},server,vnet-hdr-len=12`] },
    seed: async () => {
      const state = await listen(t, path)
      connections = () => state.connections
    },
  })
  t.true(fix.endsWith(`--indev=unix:${path.replace(',', ',,')},vnet-hdr-support=off,vnet-hdr-len=12`), fix)
  t.is(connections(), 0, 'nothing was connected to')
})

labTest('a port that somebody has', async (t, lab) => {
  const script =
    "require('node:net').createServer().listen(4000, '127.0.0.1', () => console.log('listening'))"
  await findsAndMends(t, lab, {
    ...{ code: 'STREAM_IN_USE', severity: 'error', status: 1, message: /listens there already/ },
    faulty: { args: ['--outdev=tcp:localhost:4000,server'] },
    seed: () => background(t, lab.inside(process.execPath, '-e', script)).line(/listening/),
  })
  const any = await doctor(t, lab, { args: ['--outdev=tcp::4000,server', '--insecure'] })
  t.regex(found(any, 'STREAM_IN_USE')[0]?.fix ?? '', /--outdev=tcp:localhost:4000,vnet/)
  const { findings, status } = await doctor(t, lab, { args: ['--outdev=tcp:127.0.0.2:4000,server', '-v'] })
  t.is(status, 0, 'the same port of another address is free')
  t.like(
    findings.find(({ code }) => code === 'STREAM_READY'),
    { message: 'the port is free' },
  )
})

labTest(
  'an address of another host is none to listen at, and to connect to it is not tried',
  async (t, lab) => {
    await finds(t, lab, {
      ...{ code: 'STREAM_INVALID', severity: 'error', status: 1, message: /no address of this host/ },
      healthy: { args: ['--indev=tcp:192.0.2.1:4000'] },
      faulty: { args: ['--indev=tcp:192.0.2.1:4000,server', '--insecure'] },
    })
  },
)

labTest('a directory that is missing is made', async (t, lab) => {
  const path = join(temporaryDirectory(t), 'sockets')
  await mkdir(path)
  await findsAndMends(t, lab, {
    ...{ code: 'DIRECTORY_MISSING', severity: 'error', status: 1, message: /no such directory/ },
    faulty: { args: [`--indev=unix:${path}/in,server`] },
    seed: () => rm(path, { recursive: true }),
  })
})

labTest('nobody listens: an error, and good to know with --wait', async (t, lab) => {
  const path = join(temporaryDirectory(t), 'peer')
  const { server } = await listen(t, path)
  const { note = '' } = await finds(t, lab, {
    ...{ code: 'STREAM_UNREACHABLE', severity: 'error', status: 1, message: /^there is no such socket$/ },
    faulty: { args: [`--outdev=unix:${path}`] },
    seed: () => new Promise(resolve => server.close(resolve)),
  })
  t.regex(note, /or listen: --outdev=unix:.*\/peer,server$/)
  const patient = await doctor(t, lab, { args: [`--outdev=unix:${path}`, '--wait'] })
  t.deepEqual(problems(patient), [])
  t.is(found(patient, 'STREAM_UNREACHABLE')[0]?.severity, 'info')
})

labTest('a file that is no socket is left alone', async (t, lab) => {
  const path = join(temporaryDirectory(t), 'file')
  for (const end of [`--indev=unix:${path},server`, `--outdev=unix:${path}`]) {
    await writeFile(path, '')
    const diagnosed = await doctor(t, lab, { args: [end] })
    t.is(diagnosed.status, 1)
    t.deepEqual(problems(diagnosed), ['STREAM_INVALID'])
  }
})

labTest('a socket that is closed to this user is opened', async (t, lab) => {
  if (!(await orSkip(t, needsNobody()))) return
  const place = temporaryDirectory(t)
  const path = join(place, 'peer')
  // In the lab: nobody may not look into other users' network namespaces.
  const script = `require('node:net').createServer().listen('${path}', () => console.log('listening'))`
  await background(t, lab.inside(process.execPath, '-e', script)).line(/listening/)
  await chmod(place, 0o755)
  await chmod(path, 0o777)
  await findsAndMends(t, lab, {
    ...{ code: 'PERMISSION', severity: 'error', status: 3, message: /may not connect to that socket/ },
    faulty: { wrapper: asNobody('net_raw'), args: [`--outdev=unix:${path}`] },
    seed: async () => {
      await chmod(path, 0o700)
      await chmod(place, 0o700)
    },
  })
  await chmod(place, 0o755)
  const call = { wrapper: asNobody('net_raw'), args: [`--indev=unix:${place}/other,server`] }
  const denied = await doctor(t, lab, call)
  t.is(denied.status, 3)
  t.regex(found(denied, 'PERMISSION')[0]?.message ?? '', /may not make a socket in that directory/)
})

labTest('between streams no capability is needed', async (t, lab) => {
  if (!(await orSkip(t, needsNobody()))) return
  const place = temporaryDirectory(t)
  await chmod(place, 0o777)
  const ends = [`--indev=unix:${place}/a,server`, `--outdev=unix:${place}/b,server`]
  const { findings, status } = await doctor(t, lab, { wrapper: asNobody(), args: ends })
  t.is(status, 0)
  t.deepEqual(
    findings.filter(({ severity }) => severity !== 'ok'),
    [],
  )
})

labTest('a running tapferry is known at both of its ends', async (t, lab) => {
  const place = temporaryDirectory(t)
  await listen(t, join(place, 'b'))
  const ends = [`--indev=unix:${place}/a,server`, `--outdev=unix:${place}/b`]
  const running = await ferry(t, lab, ...ends)
  const diagnosed = await doctor(t, lab, { args: [...ends, '--hold=100', '--count=3', '--duration=5'] })
  t.is(diagnosed.status, 0)
  t.deepEqual(problems(diagnosed), [])
  const followed = found(diagnosed, 'STREAM_FOLLOWED')
  t.is(followed.length, 2)
  for (const { message } of followed) t.regex(message, new RegExp(`^tapferry ${running.pid} `))
})

labTest('a filter of the VM with other headers is found, and the option that is right', async (t, lab) => {
  if (!(await orSkip(t, needsQemu()))) return
  const place = temporaryDirectory(t)
  for (const name of ['tapX', 'tapY']) await lab.ask('tap', { name, held: false })
  const netdevs = { hnX: 'tapX', hnY: 'tapY' }
  const vm = await Vm.start(lab, place, { name: 'doctor', netdevs, hub: true })
  t.teardown(() => vm.kill())
  const path = join(place, 'c0')
  await plugChardev(t, vm, 'c0', { path, server: true })
  const filter = { type: 'filter-redirector', netdev: 'hnX', queue: 'tx', indev: 'c0' } as const
  await plugFilter(t, vm, 'r0', { ...filter, announced: true })
  const args = (end: string) => [`--outdev=unix:${path}${end}`, `--qmp=${vm.monitors[0]}`]
  const announced = await findsAndMends(t, lab, {
    ...{ code: 'VNET_HDR_MISMATCH', severity: 'error', status: 1, message: /with vnet_hdr_support=on/ },
    healthy: { args: args(',vnet-hdr-support,vnet-hdr-len=0') },
    faulty: { args: args(',vnet-hdr-len=0') },
  })
  t.regex(announced.note ?? '', /^set --vnet-hdr-support=on here/)
  await findsAndMends(t, lab, {
    ...{ code: 'VNET_HDR_MISMATCH', severity: 'error', status: 1, message: /takes no virtio-net headers/ },
    healthy: { args: args(',vnet-hdr-support,vnet-hdr-len=0') },
    faulty: { args: args(',vnet-hdr-support,vnet-hdr-len=12') },
  })
  const holder = `require('node:net').connect('${path}', () => console.log('connected'))`
  await background(t, lab.inside(process.execPath, '-e', holder)).line(/connected/)
  const busy = await doctor(t, lab, { args: args(',vnet-hdr-support,vnet-hdr-len=0') })
  t.deepEqual(problems(busy), ['STREAM_BUSY'])
})

test('a filter that is deaf is good to know: a run makes it anew', t => {
  const plan = { kind: 'stream' as const, ...parseStreamEnd('unix:/run/c0', '--outdev') }
  const finding = only({
    request: request({ outNetdev: undefined }),
    output: undefined,
    streams: [
      {
        ...{ role: 'outdev', plan: { ...plan, vnetHdrSupport: false }, server: undefined, clients: [] },
        file: { kind: 'socket', writable: true, directory: 'writable', closedDirectories: [] },
        ...{ listening: true, ferry: undefined, opposite: { deaf: ['r0'], mismatches: [] } },
        credentials: undefined,
      },
    ],
  })
  t.like(finding, { code: 'FILTER_DEAF', severity: 'info', about: 'outdev unix:/run/c0' })
  t.is(facts().streams.length, 0)
})

test('doctor takes what run takes, and refuses what run refuses', async t => {
  const wrong = await tapferry('doctor', '--indev=unix:/a', '--outdev=unix:/a')
  t.is(wrong.status, 2)
  t.regex(wrong.stderr, /'indev' and 'outdev' could not be same/)
  for (const args of [
    ['--in-netdev=a', '--indev=unix:/a'],
    ['--hold=until-running'],
    ['--indev=unix:/a', '--queue=tx'],
  ]) {
    t.is((await tapferry('doctor', ...args)).status, 2, args.join(' '))
  }
})
