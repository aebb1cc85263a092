/** Which of a process's TAPs are behind a netdev. */

import test from 'ava'
import { netnsPath } from '../../ts/host/namespaces.ts'
import type { NetClient } from '../../ts/vm/info-network.ts'
import { tapsBehind, type VmTap } from '../../ts/vm/taps.ts'

function tap(fd: number, name: string, namespace = 'net:[1]'): VmTap {
  return { pid: 1, fd, interface: name, namespace }
}

function netdev(id: string, fields: Partial<NetClient> = {}): NetClient {
  return { id, type: 'tap', queues: 1, ...fields }
}

const TAPS = [tap(3, 'tapA'), tap(4, 'tapB'), tap(5, 'tapB'), tap(6, 'tapC'), tap(9, 'tapC', 'net:[2]')]

test('by its descriptor, with all queues of that interface', t => {
  t.deepEqual(tapsBehind(netdev('a', { fd: 3 }), [], TAPS), [tap(3, 'tapA')])
  t.deepEqual(tapsBehind(netdev('b', { fd: 4 }), [], TAPS), [tap(4, 'tapB'), tap(5, 'tapB')])
})

test('by its interface, and not one of the same name in another namespace', t => {
  t.deepEqual(tapsBehind(netdev('c', { interface: 'tapC' }), [], TAPS), [tap(6, 'tapC')])
})

test('a descriptor or an interface that the process does not have leads nowhere', t => {
  t.deepEqual(tapsBehind(netdev('x', { fd: 7 }), [], TAPS), [])
  t.deepEqual(tapsBehind(netdev('x', { interface: 'tapX' }), [], TAPS), [])
  t.deepEqual(tapsBehind(netdev('x'), [], []), [])
})

test('without either, what no other netdev has, if that is one interface', t => {
  const [a, c, helper] = [netdev('a', { fd: 3 }), netdev('c', { interface: 'tapC' }), netdev('h')]
  const taps = TAPS.slice(0, 4)
  t.deepEqual(tapsBehind(helper, [a, c, helper], taps), [tap(4, 'tapB'), tap(5, 'tapB')])
  t.deepEqual(tapsBehind(helper, [a, helper], taps), [], 'two are left, and nothing tells which')
})

test('a namespace is a name, a path or the number of a process', t => {
  t.is(netnsPath('blue'), '/run/netns/blue')
  t.is(netnsPath('/var/run/docker/netns/1a2b'), '/var/run/docker/netns/1a2b')
  t.is(netnsPath('./ns'), './ns')
  t.is(netnsPath('4711'), '/proc/4711/ns/net')
})
