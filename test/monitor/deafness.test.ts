/** Filters of QEMU that do not hear us any more: which ones are touched, and how. */

import { writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Monitor } from '../../ts/monitor/index.ts'
import { parseStreamEnd } from '../../ts/stream/address.ts'
import { placeOfChardev } from '../../ts/vm/chardevs.ts'
import { chardevPath } from '../../ts/vm/command-line.ts'
import { DeafnessCure, type Revival } from '../../ts/vm/deafness.ts'
import { filterOrder, sameAgain } from '../../ts/vm/filters.ts'
import { OtherEnd } from '../../ts/vm/other-end.ts'
import { SimulatedFilters } from './filters.ts'
import { failure, simulate, socketPath } from './support.ts'

/** A VM with these chardevs and filters, and the cure for what is deaf to our outdev. */
async function cureFor(t: ExecutionContext, outdev: string, vm: SimulatedFilters) {
  const simulator = await simulate(t, { commands: vm.commands, infoNetwork: vm.infoNetwork })
  const monitor = await Monitor.connect({ address: simulator.address })
  t.teardown(() => monitor.close())
  const otherEnd = new OtherEnd(monitor, { role: 'outdev', ...parseStreamEnd(outdev, '--outdev') })
  const cure = new DeafnessCure(monitor, otherEnd)
  return { look: async () => cure.revive(await otherEnd.filters()), simulator, monitor }
}

/** One look at a VM with one redirector, r0, whose indev is c0. */
async function lookAt(
  t: ExecutionContext,
  outdev: string,
  filename: string,
  { deaf = true, ...properties }: { deaf?: boolean } & Record<string, string | boolean> = {},
): Promise<{ revivals: Revival[]; vm: SimulatedFilters }> {
  const vm = new SimulatedFilters()
  vm.chardev('c0', filename, { deaf })
  vm.filter('r0', { indev: 'c0', ...properties })
  const { look } = await cureFor(t, outdev, vm)
  return { revivals: await look(), vm }
}

const REVIVED = [{ filter: 'r0', chardev: 'c0', netdev: 'hn0' }]

for (const [outdev, filename] of [
  ['unix:/run/c0', 'unix:/run/c0,server=on'],
  ['unix:/run/c0', 'unix:/run/c0,server'],
  ['unix:/run/c0', 'disconnected:unix:/run/c0,server=on'],
  ['unix:/run/c0,server', 'disconnected:unix:/run/c0'],
  ['tcp:127.0.0.1:4000', 'tcp:127.0.0.1:4000,server=on <-> 127.0.0.1:36070'],
  ['tcp:localhost:4000', 'tcp:127.0.0.1:4000,server=on <-> 127.0.0.1:36070'],
  ['tcp:127.0.0.1:4000', 'disconnected:tcp:0.0.0.0:4000,server=on'],
  ['tcp:[::1]:4000', 'disconnected:tcp::::4000,server=on'],
  ['tcp:[::1]:4000', 'tcp:[::1]:4000,server=on <-> [::1]:42830'],
  ['tcp:127.0.0.1:4000,server', 'disconnected:tcp:localhost:4000'],
  ['tcp:127.0.0.1:4000,server', 'tcp:127.0.0.1:56172 <-> 127.0.0.1:4000'],
  ['tcp::4000,server', 'tcp:192.0.2.1:56172 <-> 192.0.2.2:4000'],
] as const) {
  test(`deaf at our ${outdev}: ${filename}`, async t => {
    const { revivals, vm } = await lookAt(t, outdev, filename)
    t.deepEqual(revivals, REVIVED)
    t.deepEqual(vm.changes, ['del r0', 'add r0 tail behind'])
    t.true(vm.chardevs[0]?.['frontend-open'])
  })
}

for (const [why, outdev, filename, state] of [
  ['it hears', 'unix:/run/c0', 'unix:/run/c0,server=on', { deaf: false }],
  [
    'it waits for a peer, and will hear it',
    'unix:/run/c0',
    'disconnected:unix:/run/c0,server=on',
    { deaf: false },
  ],
  ['it is off', 'unix:/run/c0', 'unix:/run/c0,server=on', { status: 'off' }],
  ['it has another socket', 'unix:/run/c0', 'unix:/run/c1,server=on', {}],
  ['both of us listen', 'unix:/run/c0,server', 'unix:/run/c0,server=on', {}],
  ['both of us connect', 'unix:/run/c0', 'disconnected:unix:/run/c0', {}],
  ['it has another port', 'tcp:127.0.0.1:4000', 'tcp:127.0.0.1:4001,server=on <-> 127.0.0.1:4000', {}],
  ['it is on another host', 'tcp:127.0.0.1:4000', 'disconnected:tcp:127.0.0.2:4000,server=on', {}],
  ['it only writes to that chardev', 'unix:/run/c0', 'unix:/run/c0,server=on', { indev: '', outdev: 'c0' }],
  ['it is a mirror', 'unix:/run/c0', 'unix:/run/c0,server=on', { type: 'filter-mirror' }],
  ['nobody knows where its chardev goes', 'unix:/run/c0,server', 'unix:', {}],
  ['its chardev is no socket', 'unix:/run/c0', 'pty:/dev/pts/3', {}],
] as const) {
  test(`a filter is left alone when ${why}`, async t => {
    const { revivals, vm } = await lookAt(t, outdev, filename, state)
    t.deepEqual(revivals, [])
    t.deepEqual(vm.changes, [])
  })
}

test('a path that leads to the same file is the same socket', async t => {
  const path = socketPath(t, 'c0')
  writeFileSync(path, '')
  const { revivals } = await lookAt(
    t,
    `unix:${path}`,
    `unix:${dirname(path)}/../${path.split('/').slice(-2).join('/')},server=on`,
  )
  t.deepEqual(revivals, REVIVED)
})

test('where QEMU has forgotten a path, what was seen before counts', async t => {
  const vm = new SimulatedFilters()
  vm.chardev('c0', 'disconnected:unix:/run/c0', { deaf: false })
  vm.filter('r0', { indev: 'c0' })
  const { look } = await cureFor(t, 'unix:/run/c0,server', vm)
  t.deepEqual(await look(), [])
  Object.assign(vm.chardevs[0] ?? {}, { filename: 'unix:', 'frontend-open': false })
  t.deepEqual(await look(), REVIVED)
  t.deepEqual(await look(), [], 'what hears is left alone')
})

test('a filter comes back into the place that it has, with all that it had', async t => {
  const vm = new SimulatedFilters()
  vm.chardev('c0', 'unix:/run/c0,server=on', { deaf: true })
  vm.chardev('c1', 'unix:/run/c1,server=on', { deaf: true })
  vm.filter('m0', { type: 'filter-mirror', outdev: 'c1' })
  vm.filter('r0', { indev: 'c0', outdev: 'c1', queue: 'all', vnet_hdr_support: true, position: 'head' })
  vm.filter('b0', { type: 'filter-buffer' })
  const { look } = await cureFor(t, 'unix:/run/c0', vm)
  t.deepEqual(await look(), REVIVED)
  t.deepEqual(
    vm.filters.map(({ id }) => id),
    ['m0', 'r0', 'b0'],
  )
  t.like(vm.filters[1], { indev: 'c0', outdev: 'c1', queue: 'all', vnet_hdr_support: true, status: 'on' })
})

test('two filters at one stream are both cured', async t => {
  const vm = new SimulatedFilters()
  vm.chardev('c0', 'unix:/run/c0,server=on', { deaf: true })
  vm.filter('r0', { indev: 'c0' })
  vm.filter('r1', { indev: 'c0' })
  const { look } = await cureFor(t, 'unix:/run/c0', vm)
  t.deepEqual(
    (await look()).map(({ filter }) => filter),
    ['r0', 'r1'],
  )
})

test('a filter that is plugged in while we look is left alone', async t => {
  const vm = new SimulatedFilters()
  vm.chardev('c0', 'unix:/run/c0,server=on', { deaf: true })
  const [chardev] = vm.chardevs
  const list = vm.commands['qom-list']
  const commands = {
    ...vm.commands,
    'qom-list': (args: Readonly<Record<string, unknown>>) => {
      if (args['path'] === '/objects') {
        vm.filter('r0', { indev: 'c0' })
        Object.assign(chardev ?? {}, { 'frontend-open': true })
      }
      return list?.(args) ?? {}
    },
  }
  const simulator = await simulate(t, { commands })
  const monitor = await Monitor.connect({ address: simulator.address })
  t.teardown(() => monitor.close())
  const otherEnd = new OtherEnd(monitor, { role: 'outdev', ...parseStreamEnd('unix:/run/c0', '--outdev') })
  const filters = await otherEnd.filters()
  t.is(filters.length, 1)
  t.deepEqual(await new DeafnessCure(monitor, otherEnd).revive(filters), [])
  t.deepEqual(vm.changes, [])
})

test('a filter that cannot be made anew is told with the command that makes it', async t => {
  const vm = new SimulatedFilters()
  vm.chardev('c0', 'unix:/run/c0,server=on', { deaf: true })
  vm.filter('r0', { indev: 'c0' })
  vm.refusal = 'no memory'
  const { look } = await cureFor(t, 'unix:/run/c0', vm)
  const [revival] = await look()
  t.is(revival?.failure?.code, 'FILTER_DEAF')
  t.regex(revival?.failure?.message ?? '', /'r0' .* its indev 'c0', and could not be made anew: .*no memory/)
  const command = /object-add (\{.*\})$/.exec(revival?.failure?.hint ?? '')?.[1] ?? '{}'
  t.like(JSON.parse(command), { 'qom-type': 'filter-redirector', id: 'r0', netdev: 'hn0', indev: 'c0' })
})

test('a filter that stays deaf is told', async t => {
  const vm = new SimulatedFilters()
  vm.chardev('c0', 'unix:/run/c0,server=on', { deaf: true })
  vm.filter('r0', { indev: 'c0' })
  vm.incurable = true
  const { look } = await cureFor(t, 'unix:/run/c0', vm)
  t.regex((await look())[0]?.failure?.message ?? '', /making it anew did not help/)
})

test('a look without a monitor fails, and the next one works', async t => {
  const vm = new SimulatedFilters()
  vm.chardev('c0', 'unix:/run/c0,server=on', { deaf: true })
  vm.filter('r0', { indev: 'c0' })
  const { look, simulator, monitor } = await cureFor(t, 'unix:/run/c0', vm)
  const regained = new Promise<void>(resolve => {
    monitor.onEvent(event => event.type === 'regained' && resolve())
  })
  const lost = new Promise<void>(resolve => {
    monitor.onEvent(event => event.type === 'lost' && resolve())
  })
  simulator.dropClient()
  await lost
  t.is((await failure(t, look())).code, 'MONITOR_LOST')
  await regained
  t.deepEqual(await look(), REVIVED)
})

test('a path may hold what looks like an option', t => {
  t.deepEqual(placeOfChardev('unix:/run/a,server=on/b,server=on'), {
    server: true,
    address: { kind: 'unix', path: '/run/a,server=on/b' },
  })
})

test('a chardev is found in the arguments of its VM', t => {
  const args = ['qemu', '-chardev', 'pty,id=c1', '-chardev', 'socket,id=c0,path=/run/a,,b,server=on']
  t.is(chardevPath(args, 'c0'), '/run/a,b')
  t.is(chardevPath(args, 'c1'), undefined)
  t.is(chardevPath(args, 'c2'), undefined)
})

test('the order of a netdev is its own', t => {
  const text = [
    'filters:',
    '  - a: type=filter-mirror,vnet_hdr_support=false,outdev=c1,position=tail,netdev=hn0,queue=tx',
    '  - b: type=filter-buffer,interval=1000,netdev=hn1,queue=rx',
    '  - c: type=filter-redirector,indev=c0,outdev=,netdev=hn0,queue=tx',
  ].join('\r\n')
  t.deepEqual(filterOrder(text, 'hn0'), ['a', 'c'])
  t.deepEqual(filterOrder(text, 'hn1'), ['b'])
  t.deepEqual(filterOrder('', 'hn0'), [])
})

test('a filter is made again before or behind its neighbour', t => {
  const filter = {
    id: 'r',
    type: 'filter-redirector' as const,
    properties: { netdev: 'hn0', indev: 'c0', outdev: '', position: 'id=x', insert: 'before' },
  }
  const place = (...order: string[]) => sameAgain(filter, order)
  t.like(place('a', 'r', 'b'), { position: 'id=a', insert: 'behind' })
  t.like(place('r', 'b'), { position: 'id=b', insert: 'before' })
  t.like(place('r'), { position: 'tail', insert: 'behind' })
  t.like(place(), { position: 'id=x', insert: 'before' })
  t.false('outdev' in place('r'), 'what was not given is not given again')
})
