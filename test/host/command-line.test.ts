/** QEMU's arguments as plain QEMU, libvirt, Proxmox VE and Incus write them. */

import test from 'ava'
import { parseQemuCommandLine } from '../../ts/vm/command-line.ts'
import { managerOf } from '../../ts/vm/discover.ts'

/** As a shell would split it; no argument here holds a blank. */
function parse(line: string) {
  return parseQemuCommandLine(line.split(/\s+/).filter(word => word !== ''))
}

test('plain QEMU: a monitor and a netdev in short forms', t => {
  const { name, monitors, netdevs } = parse(
    '-name web1 -qmp unix:/run/vm.qmp,server=on,wait=off -netdev tap,id=hn0,ifname=tap0,script=no,vhost=on',
  )
  t.is(name, 'web1')
  t.deepEqual(monitors, [{ address: 'unix:/run/vm.qmp' }])
  t.deepEqual(netdevs, [{ id: 'hn0', type: 'tap', queues: 1, interface: 'tap0', vhost: true }])
})

test('two dashes, several monitors, ports, and monitors that nobody can connect to', t => {
  const { monitors } = parse(`
    --qmp tcp:127.0.0.1:4444,server=on,wait=off -qmp stdio -qmp tcp:0.0.0.0:4445,server,nowait
    -qmp tcp:collector:9,server=off -monitor unix:/run/human,server=on -qmp-pretty unix:q,server=on`)
  t.deepEqual(monitors, [
    { address: 'tcp:127.0.0.1:4444' },
    { address: 'tcp:localhost:4445' },
    { address: 'unix:q' },
  ])
})

test('libvirt: JSON netdevs with descriptors, a monitor on a socket that was handed over', t => {
  const { name, monitors, netdevs } = parse(`
    -name guest=web1,debug-threads=on
    -chardev socket,id=charmonitor,fd=27,server=on,wait=off -mon chardev=charmonitor,id=monitor,mode=control
    -chardev socket,id=human,path=/run/h,server=on -mon chardev=human,mode=readline
    -netdev {"type":"tap","fds":"29:30","vhost":true,"vhostfds":"31:32","id":"hostnet0"}
    -netdev {"type":"tap","fd":"33","id":"hostnet1"}`)
  t.is(name, 'web1')
  t.deepEqual(monitors, [{ fd: 27 }])
  t.deepEqual(netdevs, [
    { id: 'hostnet0', type: 'tap', queues: 2, fd: 29, vhost: true },
    { id: 'hostnet1', type: 'tap', queues: 1, fd: 33, vhost: false },
  ])
})

test('Proxmox VE and a JSON chardev', t => {
  const { name, monitors, netdevs } = parse(`
    -name fw,debug-threads=on -chardev socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off
    -mon chardev=qmp,mode=control
    -chardev {"backend":"socket","id":"c1","path":"/run/second","server":"on"} -mon chardev=c1,mode=control
    -netdev type=tap,id=net0,ifname=tap100i0,script=/usr/libexec/qemu-server/pve-bridge,vhost=on,queues=4`)
  t.is(name, 'fw')
  t.deepEqual(monitors, [{ address: 'unix:/var/run/qemu-server/100.qmp' }, { address: 'unix:/run/second' }])
  t.deepEqual(netdevs, [{ id: 'net0', type: 'tap', queues: 4, interface: 'tap100i0', vhost: true }])
})

test('a bridge netdev is a TAP, others keep their type, and one without an id is left out', t => {
  const { netdevs } = parse('-netdev bridge,id=b0,br=br0 -nic user,id=u0 -nic tap -netdev')
  t.deepEqual(netdevs, [
    { id: 'b0', type: 'tap', queues: 1, vhost: false },
    { id: 'u0', type: 'user', queues: 1, vhost: false },
  ])
})

test('devices tell the model and the address that a guest sees', t => {
  const { netdevs, nics } = parse(`
    -netdev tap,id=hn0,ifname=t0 -device virtio-net-pci,netdev=hn0,mac=52:54:00:12:34:56
    -netdev tap,id=hn1,ifname=t1 -device {"driver":"e1000","netdev":"hn1","id":"net1"} -device virtio-rng-pci`)
  t.deepEqual(
    netdevs.map(({ device }) => device),
    ['device of hn0', 'net1'],
  )
  t.deepEqual(nics, [
    { id: 'device of hn0', type: 'nic', queues: 1, model: 'virtio-net-pci', mac: '52:54:00:12:34:56' },
    { id: 'net1', type: 'nic', queues: 1, model: 'e1000' },
  ])
})

test('a comma in a value is written twice', t => {
  t.is(parse('-name a,,b').name, 'a,b')
  t.deepEqual(parse('-netdev tap,id=x,ifname=tap,,c').netdevs[0]?.interface, 'tap,c')
})

test('what is no option of QEMU is passed over', t => {
  t.deepEqual(parse('-netdev {"type": -qmp ,,, -name'), {
    name: undefined,
    monitors: [],
    netdevs: [],
    nics: [],
  })
})

test('a monitor that a manager made for itself is known by its path', t => {
  t.is(managerOf('unix:/var/lib/libvirt/qemu/domain-3-web1/monitor.sock'), 'libvirt')
  t.is(managerOf('/var/run/qemu-server/100.qmp'), 'Proxmox VE')
  t.is(managerOf('/run/incus/web1/qemu.monitor'), 'Incus')
  t.is(managerOf('/run/vm.qmp'), undefined)
})
