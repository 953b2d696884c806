"""Shapes of a scene as a viewer draws them: one archetype each, fine meshes thinned."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.types import Array, Shape
from workbench.viewing.colours import GROUND_COLOUR

FURNITURE_BRIGHTNESS = 0.78
GROUND_HALF_M = 1.5
ROOM_HALF_M = 1.0
"""A box of the world with a half length above this is a wall: it would stand between the eye and the robot."""
CELL_M = 0.0025
"""Meshes are thinned to about one vertex per cube of this edge; finer detail is not seen at arm's length."""
CREASE_COSINE = float(np.cos(np.deg2rad(40.0)))
"""Faces that meet at a sharper angle keep an edge between them instead of being shaded as one surface."""


def is_wall(shape: Shape) -> bool:
    """Whether a shape hides the scene."""
    return shape.body == "world" and shape.kind == "box" and float(np.max(shape.size_m)) > ROOM_HALF_M


def geometry(shape: Shape) -> Any:
    """Rerun's archetype for a shape in its own frame, or None for a mesh of which nothing is left."""
    import rerun as rr

    size_m = np.asarray(shape.size_m, np.float32)
    colour = np.clip(np.asarray(shape.rgba, np.float64), 0.0, 1.0)
    if shape.kind != "mesh":  # furniture is made of these, and a white robot must stand out from a white table
        colour[:3] *= min(1.0, FURNITURE_BRIGHTNESS / max(float(colour[:3].max()), 1e-6))
    colour = np.round(colour * 255).astype(np.uint8)
    solid = {"colors": [colour], "fill_mode": "solid"}
    if shape.kind == "box":
        return rr.Boxes3D(half_sizes=[size_m], **solid)
    if shape.kind == "sphere":
        return rr.Ellipsoids3D(half_sizes=[np.full(3, size_m[0])], **solid)
    if shape.kind == "ellipsoid":
        return rr.Ellipsoids3D(half_sizes=[size_m], **solid)
    if shape.kind == "cylinder":
        return rr.Cylinders3D(lengths=[2 * size_m[1]], radii=[size_m[0]], **solid)
    if shape.kind == "capsule":
        # Rerun's capsule starts at the origin, MuJoCo's has its middle there.
        start = [0.0, 0.0, -size_m[1]]
        return rr.Capsules3D(lengths=[2 * size_m[1]], radii=[size_m[0]], translations=[start], **solid)
    if shape.kind == "plane":
        return _ground(size_m)
    vertices_m, normals, faces = thin_mesh(np.asarray(shape.vertices_m), np.asarray(shape.faces))
    if not len(faces):
        return None
    return rr.Mesh3D(vertex_positions=vertices_m, vertex_normals=normals, triangle_indices=faces, albedo_factor=colour)


def _ground(size_m: Array) -> Any:
    """A matt square instead of MuJoCo's endless textured plane, darker than the background so that both are seen."""
    import rerun as rr

    x, y = (min(float(half), GROUND_HALF_M) if half > 0 else GROUND_HALF_M for half in size_m[:2])
    return rr.Boxes3D(half_sizes=[[x, y, 0.001]], colors=[GROUND_COLOUR], fill_mode="solid")


def thin_mesh(vertices_m: Array, faces: Array) -> tuple[Array, Array, Array]:
    """Merge the vertices of each small cube into one, and give each face's corners normals to shade with.

    Vertex clustering after Rossignac & Borrel (Modeling in Computer Graphics, 1993).  Corners of one vertex share a
    normal with those neighbouring faces that meet at less than 40 degrees, so that edges stay edges.

    Parameters
    ----------
    vertices_m
        (V, 3) positions.
    faces
        (F, 3) indices into them.

    Returns
    -------
    (V', 3) float32 vertices, (V', 3) float32 unit normals and (F', 3) uint32 faces; empty if all faces vanish.
    """
    diagonal_m = float(np.linalg.norm(np.ptp(vertices_m, axis=0))) if len(vertices_m) else 0.0
    cell_m = max(min(CELL_M, diagonal_m / 40), 1e-6)
    _, cluster = np.unique(np.round(vertices_m / cell_m).astype(np.int64), axis=0, return_inverse=True)
    cluster = cluster.reshape(-1)
    count = np.bincount(cluster)
    merged = np.stack([np.bincount(cluster, vertices_m[:, axis]) / count for axis in range(3)], axis=1)
    kept = cluster[faces].reshape(-1, 3)
    area = np.cross(merged[kept[:, 1]] - merged[kept[:, 0]], merged[kept[:, 2]] - merged[kept[:, 0]])
    length = np.linalg.norm(area, axis=1)
    kept, area, length = kept[length > 1e-12], area[length > 1e-12], length[length > 1e-12]
    if not len(kept):
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32)
    normals = _corner_normals(kept, area, area / length[:, None])
    key = np.column_stack([kept.reshape(-1), np.round(normals * 32).astype(np.int64)])
    _, first, index = np.unique(key, axis=0, return_index=True, return_inverse=True)
    vertices = merged[kept.reshape(-1)[first]].astype(np.float32)
    return vertices, normals[first].astype(np.float32), index.reshape(-1, 3).astype(np.uint32)


def _corner_normals(faces: Array, area: Array, unit: Array) -> Array:
    """(3 F, 3) unit normals of all corners: area-weighted over the faces around its vertex within the crease angle."""
    owner = np.repeat(np.arange(len(faces)), 3)
    order = np.argsort(faces.reshape(-1), kind="stable")
    sorted_vertex, sorted_face = faces.reshape(-1)[order], owner[order]
    valence = np.bincount(sorted_vertex)
    start = np.cumsum(valence) - valence
    total = np.zeros((len(order), 3))
    # The n-th neighbour of every corner at once; a vertex has few faces, so this loop is short.
    for turn in range(int(valence.max())):
        has = turn < valence[sorted_vertex]
        neighbour = sorted_face[start[sorted_vertex[has]] + turn]
        smooth = np.einsum("ij,ij->i", unit[sorted_face[has]], unit[neighbour]) > CREASE_COSINE
        total[has] += area[neighbour] * smooth[:, None]
    normals = np.empty_like(total)
    normals[order] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return normals
