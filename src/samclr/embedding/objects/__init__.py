"""The protocol `objects`: do the vectors of regions find objects of the same class, in other images?"""
