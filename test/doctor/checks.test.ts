/** The checks with made-up facts: other kernels, other managers of VMs, what no lab can show. */

import test from 'ava'
import type { TrafficFilter } from '../../ts/binding.ts'
import { runChecks } from '../../ts/doctor/checks/index.ts'
import { bySeverity, exitStatusFor, type Severity } from '../../ts/doctor/finding.ts'
import { again, at } from '../../ts/doctor/shell.ts'
import { ExitStatus, TapferryError } from '../../ts/errors.ts'
import { quote } from '../../ts/options/words.ts'
import { colorsFor } from '../../ts/output/color.ts'
import { findingsText } from '../../ts/output/findings.ts'
import {
  closedMonitor,
  end,
  facts,
  HOME,
  missing,
  monitor,
  netdev,
  only,
  refused,
  request,
  vm,
  wrong,
} from './facts.ts'

test('where all is well, everything is ok', t => {
  const findings = runChecks(facts())
  t.true(findings.length > 10)
  t.deepEqual(
    findings.filter(({ severity }) => severity !== 'ok'),
    [],
  )
})

test("libvirt's monitor is libvirt's: a second one, without and with a restart", t => {
  const address = '/var/lib/libvirt/qemu/domain-1-web/monitor.sock'
  const clients = [{ pid: 7, name: 'virtqemud', frozen: false }]
  for (const held of [{ manager: 'libvirt' as const }, { clients }]) {
    const { severity, fix, note = '' } = only({ monitor: closedMonitor('MONITOR_BUSY', address, held) })
    t.is(severity, 'error')
    t.is(fix, undefined, 'libvirt is not to be killed')
    t.regex(
      note,
      /^libvirt keeps it\. Without a restart: virt-qemu-qmp-proxy DOMAIN \/run\/tapferry-DOMAIN\.qmp/,
    )
    t.regex(
      note,
      /virsh edit DOMAIN.*<qemu:arg value='unix:\/run\/tapferry-DOMAIN\.qmp,server=on,wait=off'\/>/,
    )
  }
})

test('Proxmox VE: args of the very VM', t => {
  const address = '/var/run/qemu-server/104.qmp'
  const { fix, note = '' } = only({
    monitor: closedMonitor('MONITOR_BUSY', address, { manager: 'Proxmox VE' }),
  })
  t.is(fix, undefined)
  t.regex(
    note,
    /qm set 104 --args '-qmp unix:\/run\/tapferry-104\.qmp,server=on,wait=off', with what qm config 104 shows/,
  )
})

test('Incus: raw.qemu', t => {
  const address = '/run/incus/vm1/qemu.monitor'
  const { note = '' } = only({ monitor: closedMonitor('MONITOR_BUSY', address, { manager: 'Incus' }) })
  t.regex(
    note,
    /incus config set INSTANCE raw\.qemu='-qmp unix:\/run\/tapferry-INSTANCE\.qmp,server=on,wait=off', with what incus config get/,
  )
})

test('several clients, or none that can be seen: a monitor more', t => {
  const clients = [1, 2].map(pid => ({ pid, name: `client${pid}`, frozen: false }))
  const several = only({ monitor: closedMonitor('MONITOR_BUSY', '/vm.qmp', { clients }) })
  t.is(several.fix, undefined)
  t.regex(several.note ?? '', /-qmp unix:PATH,server=on,wait=off; connected: client1, pid 1; client2, pid 2$/)
  const none = only({ monitor: closedMonitor('MONITOR_BUSY', '/vm.qmp') })
  t.is(none.note, 'give the VM one more: -qmp unix:PATH,server=on,wait=off')
})

test('a monitor that is gone, of a VM of which nothing is known', t => {
  for (const code of ['MONITOR_NOT_FOUND', 'MONITOR_REFUSED', 'MONITOR_LOST']) {
    const { fix, note, status } = only({ monitor: closedMonitor(code, '/vm.qmp') })
    t.deepEqual({ fix, note, status }, { fix: undefined, note: 'what its failure says', status: 4 })
  }
})

test('another monitor is suggested only if it is of the VM that is meant', t => {
  const tap = { pid: 10, fd: 9, interface: 'tapA', namespace: HOME }
  const mine = vm(10, { taps: [tap], freeMonitors: ['/mine.qmp'] })
  const far = vm(11, { taps: [{ ...tap, namespace: 'net:[2]' }], freeMonitors: ['/far.qmp'] })
  const gone = closedMonitor('MONITOR_NOT_FOUND', '/vm.qmp')
  const called = request({ argv: ['doctor', '--qmp', '/vm.qmp', '--json'], monitor: '/vm.qmp' })
  t.is(
    only({ monitor: gone, request: called, vms: [far, mine] }).fix,
    'tapferry doctor --json --qmp=/mine.qmp',
  )
  t.is(only({ monitor: gone, request: called, vms: [far] }).fix, undefined)
  const alone = { monitor: gone, request: called, input: undefined, output: undefined }
  t.is(only({ ...alone, vms: [far] }).fix, 'tapferry doctor --json --qmp=/far.qmp')
  t.is(only({ ...alone, vms: [far, mine] }).fix, undefined)
})

test('a monitor that could be used, of the VM that has the TAP in this very namespace', t => {
  const tap = { pid: 10, fd: 9, interface: 'tapA', namespace: HOME }
  const mine = vm(10, { taps: [tap], freeMonitors: ['/mine.qmp'], name: 'web' })
  const far = vm(11, { taps: [{ ...tap, namespace: 'net:[2]' }], freeMonitors: ['/far.qmp'] })
  t.like(only({ vms: [far, mine] }), { code: 'MONITOR_UNUSED', severity: 'info', about: 'VM web' })
  t.deepEqual(wrong({ vms: [far] }), [])
})

test("a netdev id of several VMs, and one of a VM that only its manager's monitor leads to", t => {
  const netdevs = [{ id: 'net0', type: 'tap', queues: 1, vhost: false, interface: 'vnet3' }]
  const input = missing('in_netdev', 'net0')
  const vms = [1, 2].map(pid => vm(pid, { netdevs, freeMonitors: [`/${pid}.qmp`] }))
  t.regex(only({ input, vms }).note ?? '', /--qmp with one of \/1\.qmp, \/2\.qmp$/)
  const managed = vm(3, { netdevs, taps: [{ pid: 3, fd: 9, interface: 'vnet3', namespace: HOME }] })
  const called = request({ inNetdev: 'net0', argv: ['doctor', '--in-netdev', 'net0'] })
  t.is(only({ input, vms: [managed], request: called }).fix, 'tapferry doctor --in-netdev=vnet3')
  t.regex(only({ input, vms: [vm(3, { netdevs })] }).note ?? '', /give the VM a monitor for tapferry/)
})

test('a port of a bridge that is down is mended at the bridge', t => {
  const port = netdev('tapA', { controller: 9, bridgePortState: 'disabled' })
  const bridge = netdev('br0', { ifindex: 9, kind: 'bridge', up: false })
  const network = { namespace: HOME, interfaces: [port, bridge], packetSockets: [], markRules: [] }
  const finding = only({ input: end('in_netdev', port, { network }) })
  t.like(finding, { code: 'BRIDGE_PORT_CLOSED', fix: 'ip link set dev br0 up' })
})

test('a tc filter with an eBPF program is a tc filter, and one at tcx is not', t => {
  const filter: Omit<TrafficFilter, 'kind'> = {
    ...{ direction: 'egress', priority: 49_152, protocol: 3, handle: 1, actions: [], programId: 7 },
  }
  const of = (kind: string) =>
    only({ input: end('in_netdev', netdev('tapA', { filters: [{ ...filter, kind }] })) })
  t.is(of('bpf').fix, 'tc filter del dev tapA egress pref 49152 bpf')
  t.like(of('tcx'), { fix: undefined })
  t.regex(of('tcx').message, /^tcx program 7 /)
})

test('a name is never answered with itself', t => {
  const process = { netdevs: [{ id: 'hn0', type: 'tap', queues: 1, vhost: false }] }
  const { fix } = only({
    input: missing('in_netdev', 'hn0', {
      problem: new TapferryError('NETDEV_ID_UNKNOWN', "in_netdev 'hn0' not found: nowhere"),
    }),
    vms: [vm(7, process)],
    monitor: monitor('/run/vm.qmp', { vm: { pid: 7, name: 'qemu', frozen: false } }),
  })
  t.is(fix, undefined)
})

test('a name is never answered with the other end, and several like it are all told', t => {
  const typed = (given: string, ...names: string[]) => {
    const interfaces = ['tapA', ...names].map(name => netdev(name))
    const network = { namespace: HOME, interfaces, packetSockets: [], markRules: [] }
    return only({ output: missing('out_netdev', given, { network }) })
  }
  t.true(typed('tapC', 'tapB').fix?.endsWith(' --out-netdev=tapB'))
  t.true(typed('TAPB', 'tapB', 'tapC').fix?.endsWith(' --out-netdev=tapB'), 'capitals are a small mistake')
  t.is(typed('tapC', 'eth0').fix, undefined)
  t.like(typed('tapC', 'tapB', 'tapD'), { fix: undefined, note: 'like it are tapB, tapD' })
})

test("without the VM's monitor nothing is said against a netdev id", t => {
  const input = missing('in_netdev', 'net0')
  const findings = wrong({ input, monitor: closedMonitor('MONITOR_BUSY', '/vm.qmp') })
  t.deepEqual(
    findings.map(({ code, severity }) => [code, severity]),
    [
      ['MONITOR_BUSY', 'error'],
      ['NETDEV_ID_UNRESOLVED', 'info'],
    ],
  )
})

test('both ends in another namespace are looked for there together, and one alone by itself', t => {
  const elsewhere = [{ id: 'net:[2]', path: '/run/netns/blue', label: 'blue' }]
  const [input, output] = [
    missing('in_netdev', 'tapA', { elsewhere }),
    missing('out_netdev', 'tapB', { elsewhere }),
  ]
  const fixes = wrong({ input, output }).map(({ fix }) => fix)
  const ends = 'tapferry doctor --in-netdev tapA --out-netdev=tapB'
  t.deepEqual(fixes, [`${ends} --netns=blue`, `${ends} --netns=blue`])
  t.is(only({ input }).fix, `${ends} --netns=blue --out-netns=/proc/self/ns/net`)
  t.is(only({ output }).fix, `${ends} --out-netns=blue`)
})

test('an interface in another namespace is mended there', t => {
  const place = { interface: 'tapB', netns: '/run/netns/blue' }
  const output = end('out_netdev', netdev('tapB', { up: false }), { place })
  t.is(only({ output }).fix, 'nsenter --net=/run/netns/blue ip link set dev tapB up')
})

test('spanning tree closed the port', t => {
  const input = end('in_netdev', netdev('tapA', { bridgePortState: 'blocking', controller: 9 }))
  const { severity, fix, note = '' } = only({ input })
  t.deepEqual([severity, fix], ['error', undefined])
  t.regex(note, /another way to the same place/)
})

test('a macvtap as out_netdev', t => {
  t.is(only({ output: end('out_netdev', netdev('tapB', { kind: 'macvtap' })) }).code, 'MACVTAP_OUTPUT')
})

test('a cable or a card that nothing is connected to', t => {
  const input = end('in_netdev', netdev('tapA', { kind: '', carrier: false }))
  t.regex(only({ input }).message, /nothing is connected, and nothing is sent into it/)
  const far = end('in_netdev', netdev('tapA', { kind: 'veth', carrier: false, linkElsewhere: true }))
  t.regex(only({ input: far }).message, /its other end, in another network namespace, is down/)
})

test('a TAP that nobody holds, for one who may not look', t => {
  const input = end('in_netdev', netdev('tapA', { carrier: false, tun: tun() }), { held: false })
  const [finding] = wrong({ input, process: refused('nothing', '') })
  t.regex(finding?.message ?? '', /no VM that this user can see holds this TAP open/)
})

function tun(): NonNullable<ReturnType<typeof netdev>['tun']> {
  return {
    tap: true,
    vnetHeader: true,
    persistent: true,
    multiQueue: false,
    queues: 1,
    disabledQueues: 0,
  }
}

test('an old kernel wants CAP_NET_ADMIN for the mark', t => {
  const { code, fix = '', status } = only({ process: refused('mark', 'EPERM') })
  t.deepEqual([code, status], ['MARK_DENIED', ExitStatus.Permission])
  t.regex(fix, /^setpriv --reuid=65534 .* --ambient-caps=\+net_raw,\+net_admin tapferry doctor /)
})

test('a user keeps the groups, one of which may be let to the monitor', t => {
  const process = { ...refused('packet_socket', 'EPERM'), groups: [36, 64055] }
  t.regex(only({ process }).fix ?? '', / --groups=36,64055 --inh-caps=/)
})

test('root of a container is told who can grant what is missing', t => {
  const { fix, note = '' } = only({
    process: { ...refused('packet_socket', 'EPERM', 0), capabilities: new Set() },
  })
  t.is(fix, undefined)
  t.regex(note, /root without CAP_NET_RAW: grant that in the settings of the container or unit/)
})

test('root of a user namespace has every capability, and is told why that is not enough', t => {
  const { note = '' } = only({
    process: { ...refused('packet_socket', 'EPERM', 0), capabilities: new Set(['net_raw']) },
  })
  t.regex(note, /root of a user namespace only/)
})

test('a ring is not to be had: of no account where none is asked for', t => {
  const process = refused('ring', 'ENOMEM')
  t.like(only({ process }), { code: 'RING_DENIED', severity: 'warning' })
  t.deepEqual(wrong({ process, request: request({ latency: 'low' }) }), [])
})

test('before Linux 6.18 the timer of a ring is as coarse as a jiffy', t => {
  const kernel = { release: '6.1.0-18-amd64', major: 6, minor: 1 }
  const clock = { ...facts().clock, jiffyNs: 10_000_000 }
  const { code, severity, message } = only({ kernel, clock })
  t.deepEqual([code, severity], ['TIMER_COARSE', 'info'])
  t.regex(message, /Linux 6\.1\.0-18-amd64 .* jiffies of 10 ms/)
  t.deepEqual(wrong({ kernel, clock, request: request({ latency: 'low' }) }), [])
  t.deepEqual(wrong({ kernel }), [])
  const features = runChecks(facts({ kernel })).filter(({ code: each }) => each === 'KERNEL')
  t.deepEqual(
    features.map(({ message: told }) => told.endsWith('yes')),
    [true, true, false],
  )
})

test('a clock matters only where the VM is on another host', t => {
  const clock = { jiffyNs: 4_000_000, synchronized: false, errorUs: 16_000_000, taiOffset: 0 }
  t.deepEqual(wrong({ clock }), [])
  t.deepEqual(wrong({ clock, monitor: monitor('/vm.qmp') }), [])
  const codes = wrong({ clock, monitor: monitor('host2:4444', { local: false }) }).map(({ code }) => code)
  t.deepEqual(codes, ['MONITOR_REMOTE', 'CLOCK_FREE'])
})

test('little memory', t => {
  t.like(only({ memoryAvailable: 64 * 1024 ** 2 }), { code: 'MEMORY_SHORT', severity: 'warning' })
  t.deepEqual(wrong({ memoryAvailable: 64 * 1024 ** 2, request: request({ latency: 'low' }) }), [])
})

test('a gate that is closed whatever the VM does', t => {
  const status = only({ monitor: monitor('/vm.qmp'), request: request({ status: false }) })
  t.is(status.message, 'no frame would pass now: --status=off')
  const when = only({ monitor: monitor('/vm.qmp'), request: request({ whenStopped: 'only' }) })
  t.regex(when.message, /the VM runs, and --only-when-stopped waits for it to stop/)
})

function ruled(...rules: readonly (readonly [mark: number, mask: number])[]): ReturnType<typeof end> {
  const markRules = rules.map(([mark, mask]) => ({ priority: 100, mark, mask, table: 7, ipv6: false }))
  const facts = netdev('tapA')
  return end('in_netdev', facts, {
    network: { namespace: HOME, interfaces: [facts], packetSockets: [], markRules },
  })
}

test('a rule has a mark as the kernel compares them', t => {
  t.is(only({ input: ruled([0x3074, 0xffff_ffff]) }).code, 'MARK_TAKEN')
  t.is(only({ input: ruled([0x3000, 0xf000]) }).code, 'MARK_TAKEN')
  t.deepEqual(wrong({ input: ruled([0x3075, 0xffff_ffff]) }), [])
  t.deepEqual(wrong({ input: ruled([0, 0x8000]) }), [], 'a rule about packets without a mark')
})

test('a free mark is one that no rule and no tapferry has, and there is one after the last', t => {
  const ferry = { pid: 9, mark: 0x3075, namespace: HOME, captures: [7], injects: [8] }
  t.regex(only({ input: ruled([0x3074, 0xffff_ffff]), ferries: [ferry] }).fix ?? '', / --mark=0x3076$/)
  t.regex(only({ input: ruled([0x3000, 0xf000]) }).fix ?? '', / --mark=0x4000$/)
  const last = request({ mark: 0xffff_ffff })
  t.regex(only({ input: ruled([0xffff_ffff, 0xffff_ffff]), request: last }).fix ?? '', / --mark=0x1$/)
  const all = Array.from({ length: 32 }, (_, bit) => [2 ** bit, 2 ** bit] as const)
  t.like(only({ input: ruled(...all) }), { fix: undefined, note: 'give another mark: --mark=NUMBER' })
})

test('a tcx program has no command that detaches it', t => {
  const filter: TrafficFilter = {
    ...{ direction: 'egress', kind: 'tcx', priority: 0, protocol: 0, handle: 0 },
    ...{ actions: [], programId: 42 },
  }
  const output = end('out_netdev', netdev('tapB', { filters: [filter] }))
  const { message, fix, note = '' } = only({ output })
  t.regex(message, /^tcx program 42 is on its egress/)
  t.is(fix, undefined)
  t.regex(note, /bpftool prog show id 42/)
})

test('a failure that is not about a name is told in its own words', t => {
  const problem = new TapferryError('NETNS_NOT_FOUND', 'no such namespace', 'look at ip netns')
  const finding = only({ input: missing('in_netdev', 'tapA', { problem, network: undefined }) })
  t.like(finding, {
    code: 'NETNS_NOT_FOUND',
    status: 5,
    message: 'no such namespace',
    note: 'look at ip netns',
  })
})

test('words are quoted as sh takes them', t => {
  t.is(quote('/run/vm-1.qmp'), '/run/vm-1.qmp')
  t.is(quote('--mark=0x3075'), '--mark=0x3075')
  t.is(quote("a b'c"), String.raw`'a b'\''c'`)
  t.is(quote('$HOME'), "'$HOME'")
  t.is(quote(''), "''")
  t.is(at(end('in_netdev', netdev('tapA')), 'ip', 'link', 'show', 'tap A', 3), "ip link show 'tap A' 3")
})

test('a command is given again with other options, however they were written', t => {
  const argv = ['doctor', '--in-netdev', 'tapA', '--qmp=/a b', '--json', '--mark', '7']
  const called = request({ argv })
  t.is(again(called, {}), "tapferry doctor --in-netdev tapA '--qmp=/a b' --json --mark 7")
  t.is(
    again(called, { '--qmp': '/c', '--in-netdev': 'tapX' }),
    'tapferry doctor --json --mark 7 --qmp=/c --in-netdev=tapX',
  )
  t.is(again(called, { '--mark': undefined, '--qmp': undefined }), 'tapferry doctor --in-netdev tapA --json')
})

const found = (code: string, severity: Severity, status?: ExitStatus) => ({
  ...{ code, severity, about: 'something', message: 'it is so' },
  ...(status === undefined ? {} : { status }),
})

test('the worst comes first, and what is equally bad stays in order', t => {
  const codes = bySeverity([
    found('A', 'ok'),
    found('B', 'warning'),
    found('C', 'error'),
    found('D', 'info'),
    found('E', 'warning'),
    found('F', 'error'),
  ]).map(({ code }) => code)
  t.deepEqual(codes, ['C', 'F', 'B', 'E', 'D', 'A'])
})

test('the status is that of the first error; a warning counts only if it is to', t => {
  const [warning, info] = [found('W', 'warning'), found('I', 'info')]
  t.is(exitStatusFor([warning, found('C', 'error', 4), found('D', 'error', 5)], false), 4)
  t.is(exitStatusFor([found('C', 'error')], false), ExitStatus.Failed)
  t.is(exitStatusFor([warning], false), ExitStatus.Done)
  t.is(exitStatusFor([warning], true), ExitStatus.Failed)
  t.is(exitStatusFor([info], true), ExitStatus.Done)
})

test('as people read it', t => {
  const colors = colorsFor(process.stdout, 'never')
  const findings = [
    found('A', 'ok'),
    { ...found('B', 'warning'), note: 'a note' },
    { ...found('C', 'error'), fix: 'ip link' },
  ]
  t.is(
    findingsText(findings, false, colors),
    [
      'error    something: it is so',
      '         fix: ip link',
      'warning  something: it is so',
      '         a note',
      '1 error, 1 warning; 1 thing is right',
    ].join('\n'),
  )
  t.is(
    findingsText([found('A', 'ok')], true, colors),
    'ok       something: it is so\nnothing wrong found; 1 thing is right',
  )
})
